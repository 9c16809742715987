// What every kernel reads: the program of a part as tables of integers, and where all buffers lie.
//
// The same structures are written by the host, field for field, from `src/engine/cuda/tables.rs`; a test
// compares the two. Nothing here depends on the plan, so neither does the text of the kernels: what is
// specialised are the constants that the emitter writes before this file:
//
//   THREADS          threads of a block, a multiple of 32; each owns one row of the batch, its *lane*
//   BLOCKS           blocks that registers suffice for on a multiprocessor
//   ARENA_IN_SHARED  1 if a block's arena lies in shared memory, 0 if in `workspace`
//   PART_OPS         a bit for each operation that occurs in a part below the head, bit i for the i-th of `Op`
//   HEAD_OPS         the same of the head
//   EACH_WIDTH(CASE) CASE(K) for each number of units K that products form in registers
//   ANY_WIDTH        1 if sums of products of other widths occur
//   PRECISION        F32, TF32 or BF16: of the operands of sums on tensor cores, see `tensor.cuh`
//   QUERIES          1 if the way back goes to the leaves of what a row lacks, 0 if to what is learned
//
// Tables of coefficients are [rows][pitch], where pitch is the number of columns rounded up to a multiple
// of four: a row begins at sixteen bytes, and four weights cost one load.

#define LANES 64  // Rows of the batch that lie side by side in the data: the plan's tile.
#define WARPS (THREADS / 32)
#define NOWHERE (-1)   // No place: see Operand.
#define TO_TABLE (-2)  // A gradient that goes on to a table of coefficients at once.

enum Op {
    LOOKUP,
    GAUSSIAN,
    LOG_LOOKUP,
    POISSON,
    ONE,
    IMPORT,
    PRODUCT,
    KRONECKER,
    ADD_LOGS,
    EXPONENTIATE,
    SUM,
    MIX,
    PRODUCT_SUM,
    SPARSE,
    KRONECKER_SUM
};

// Whether an operation is among those of the template parameter OPS; the code of others is not generated.
#define OCCURS(op) ((OPS >> (op)) & 1)

// A value as a step reads or writes it.
struct Operand {
    int units;     // Number of units.
    int rows;      // First row of its units; NOWHERE if it is inline: looked up by each reader.
    int exponent;  // Its row of exponents; NOWHERE if they are zero.
    int gradient;  // First row of its gradient; NOWHERE if none is wanted, TO_TABLE if it is inline.
    int first;     // As an input: 1 if its gradient is written, 0 if it is added to what is there.
    int column;    // Inline: the column it looks up,
    int table;     //   its table [units, states],
    int states;    //   and the number of states.
};

// One step. What `table`, `column` and `states` mean depends on the operation, as in the plan; an IMPORT
// has its first row of `handed` in `table` and its row of exponents in `column`; a SPARSE sum its first list
// in `table` and the number of its left factors in `column`.
struct Step {
    int op;
    int table;
    int column;
    int states;
    int first_input;  // Its inputs, among `operands`.
    int inputs;
    int width;  // Columns of its table: units that it sums over.
    int pitch;  // `width`, rounded up to a multiple of four.
    Operand out;
};

// A term of a sparse sum: rows of its factors, and its weight's place among the part's coefficients, NOWHERE
// for one; and rows of the gradients by the factors, NOWHERE where none is wanted.
struct Term {
    int left, right, weight;
    int d_left, d_right;
};

// The terms of one unit of a sparse sum.
struct List {
    int first, end;
};

// What a column reads: a variable of the data, or, where that is NOWHERE, one value for all rows.
struct Column {
    int variable;
    float fixed;
};

// A part: its program, its own numbers, and the rows of the arena that its program takes.
struct Part {
    int first_step, steps;
    int first_column;
    int first_output, outputs;  // Among `operands`.
    int handed;                 // Its first row of `handed` and `d_handed`.
    int handed_outputs;         // Its first row of `handed_exponents` and `handed_bounds`.
    int rows, exponents, gradients, formed, inline_rows;
    long long coefficients;  // Where its coefficients begin,
    long long count;         //   and how many they are.
};

// What a row of coefficients is, and so how it is made of parameters.
enum RowKind {
    WEIGHTS,      // The softmax of logits,
    CATEGORICAL,  //   that of a leaf's,
    BERNOULLI,    // 1 - σ(r) and σ(r),
    NORMAL        // mean, 1/variance and -½ ln(2π variance), of the mean and r.
};

struct WeightRow {
    int kind;
    int len;
    int parameters;  // Where its parameters begin; NOWHERE if logits are in its place already.
    int spare;
    long long at;     // Its place among all coefficients.
    float low, high;  // NORMAL: bounds of the variance.
};

// A sector whose logits the network makes: the upper-left corner of the network's output.
struct Sector {
    int embedding;  // Where its embedding begins among the parameters.
    int rows, cols;
    int pitch;     // From one of its rows to the next,
    long long at;  //   from its place among all coefficients.
};

// A layer of the network: weights [outputs][inputs], then biases.
struct Layer {
    int weights;  // Where they begin among the parameters.
    int inputs, outputs;
    int first;  // Row of its first input among the activations; its outputs follow its inputs.
};

// What is known of a part beside its learned rows.
struct Certificate {
    int first_row, rows;  // Its rows, among `weight_rows`.
    int chain;            // The plan's; -1 if no bound follows.
    float least;          // Of the weights that nothing learns.
};

// A step of an optimiser, on the parameters below `end` that none before it has.
struct Update {
    long long end;
    float rate;    // Learning rate, with the correction of the mean's bias.
    float decay;   // L2 added to the gradient.
    float shrink;  // What the parameter is multiplied by before.
    float beta1, fresh1;
    float beta2, fresh2;
    float unbias;  // Corrects the bias of the root of the mean square.
    float epsilon;
    int descends;  // 1: by velocity alone, without a mean square.
};

// Where everything lies. All fields are eight bytes wide, so there is one layout. `pitch` is the number of
// rows of a batch that there is room for, a multiple of THREADS and of LANES; `rows` of them are live.
struct Buffers {
    const Step* steps;
    const Operand* operands;
    const Column* columns;
    const Part* parts;         // The head is last.
    const List* lists;
    const Term* terms;
    float* coefficients;       // Part by part.
    int* certified;            // By part: whether no product can lose a unit.
    float* least;               // By part: the least weight above zero, or zero.
    float* data;                // [pitch / LANES][variables][LANES]; NaN where a value is missing.
    float* handed;              // Units of the outputs of all parts, [units][pitch],
    int* handed_exponents;      //   their exponents, [outputs][pitch],
    float* handed_bounds;       //   and what each of their units may lack.
    float* d_handed;            // The gradient by `handed`.
    double* log_p;              // [pitch], then what a step met: see `step.cuh`.
    int* in_doubt;              // [pitch]: 1 where linear arithmetic may have lost a part of the row.
    float* partial;             // [summands][summed]: gradients by coefficients, a shard each; for queries, flows,
                                //   [all states][pitch], of each run of parts, then of the head.
    float* d_coefficients;      // The sum over the summands.
    float* workspace;           // [blocks][rows of the arena][THREADS], unless ARENA_IN_SHARED.
    float* parameters;         // All that is learned.
    float* gradient;           // The gradient by it,
    float* first;              //   the mean of that, or a velocity,
    float* second;             //   and the mean of its square.
    const Update* updates;     // [updates_count], then the numbers of the batch's rows, an unsigned each.
    const void* held;          // A data set, [rows][variables]: bytes, 255 if missing, or floats, NaN if so.
    const WeightRow* weight_rows;
    float* row_least;  // By row of weights: the least of it.
    const Sector* sectors;
    const Layer* layers;
    const Certificate* certificates;  // By part.
    float* network_partial;           // Gradients by the network, [network_blocks][network_size].
    const int* first_states;    // Queries, by variable: its first state among those of all.
    int* picked;                //   Units of all parts' outputs that a tree reaches, [outputs][pitch].
    float* drawn;               //   What was drawn, or completes, [variables][pitch]; NaN where nothing was.
    double* logs;               //   Logarithms of all coefficients,
    double* handed_logs;        //   and of the greatest trees of all parts' outputs, [units][pitch].
    long long parts_below;      // Parts, the head left out.
    long long rows;
    long long pitch;
    long long variables;
    long long shards;         // Runs of tiles of THREADS rows that one block sums gradients over.
    long long runs;           // Runs of parts that one block goes back through: each part, but for flows.
    long long arena;          // Rows of a block's arena, of the largest program.
    long long all_coefficients;
    long long summands;  // Of `partial`,
    long long summed;    //   and the numbers of each.
    long long train;  // 1: the head goes back too.
    long long draws;        // Queries: 1 if rows are drawn, 0 if flows are wanted,
    long long seed;         //   the seed of the draws,
    long long first_draw;   //   and the number of the batch's first.
    long long weight_rows_count;
    long long sectors_count;
    long long layers_count;
    long long network_columns;  // Columns of the largest sector.
    long long network_size;     // Numbers of the network's parameters.
    long long network_blocks;
    long long parameters_count;
    long long updates_count;
    long long held_bytes;  // 1 if `held` are bytes.
};
