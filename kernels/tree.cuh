// Induced trees: the missing values of a row, top down, after a program's forward pass.
//
//   a sum picks one of its terms, a product all its factors, and a leaf that is reached says a value
//
// Contract of all functions here: a thread runs them for its own row, without barriers. Which unit of a value is
// picked, if any, lies where the gradient by its first unit would: both are wanted from the value's last reader back
// to its own step. A row that finds no term to pick, because all were lost, is in doubt.
//
// How terms compare and which is picked is up to a `Tree`, of `draw.cuh` or of `best.cuh`. It knows its `row` of the
// batch, and of `unit` of step `number`:
//
//   of_product    the term of a sum of a product; all of these NOWHERE if there is none
//   of_pairs      the units of both factors of a term of a sum over all pairs
//   of_inputs     the input of another sum, and a unit of it
//   of_list       the term of a sparse sum, among `terms`
//   leaf          a value of a leaf in the arena
//   inline_leaf   a value of an inline input, the left factor if `side` is 0

// The units that a step's picked unit picks of two inputs.
struct Two {
    int left, right;
};

// Writes a value of the variable that a column reads, if the row lacks it.
template <class Value>
__device__ __forceinline__ void write_leaf(
    const Buffers& buffers, const Lane& lane, long long row, int column, Value value
) {
    const float x = column_of(lane, column);
    const int variable = lane.columns[column].variable;
    if (variable == NOWHERE || x == x) return;
    buffers.drawn[variable * buffers.pitch + row] = value();
}

// Picks a unit of an input, or none. What is inline says its value at once.
template <class Tree>
__device__ __forceinline__ void choose(
    const Buffers& buffers, Lane& lane, const Tree& tree, const Operand& input, int unit, int number, int side
) {
    if (input.gradient >= 0) {
        float& picked = at(lane.gradients, input.gradient);
        if (input.first || unit != NOWHERE) picked = (float)unit;
    } else if (input.gradient == TO_TABLE && unit != NOWHERE) {
        write_leaf(buffers, lane, tree.row, input.column, [&] {
            return tree.inline_leaf(lane, input, unit, number, side);
        });
    }
}

// Picks the factors of a term of a sparse sum: the units that lie in its rows.
template <class Tree>
__device__ __forceinline__ void choose_factors(
    const Buffers& buffers, Lane& lane, const Tree& tree, const Operand* in, int inputs, int term
) {
    const Term picked = term == NOWHERE ? Term{NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE} : buffers.terms[term];
    for (int n = 0; n < inputs; ++n) {
        const int left = picked.left - in[n].rows, right = picked.right - in[n].rows;
        const bool in_left = picked.left != NOWHERE && left >= 0 && left < in[n].units;
        const bool in_right = picked.right != NOWHERE && right >= 0 && right < in[n].units;
        const int unit = in_left ? left : in_right ? right : NOWHERE;
        choose(buffers, lane, tree, in[n], unit, 0, 0);
    }
}

// The units that a picked unit of any step but a sparse sum picks of its inputs, or NOWHERE twice: of a sum of
// several inputs `left` is the input and `right` its unit.
template <int OPS, class Tree>
__device__ __forceinline__ Two picked_units(
    const Lane& lane, const Tree& tree, const Step& step, const Operand* in, int unit, int number
) {
    if (OCCURS(KRONECKER) && step.op == KRONECKER) {
        return {unit % in[0].units, unit / in[0].units};
    }
    if (OCCURS(PRODUCT_SUM) && step.op == PRODUCT_SUM) {
        const int i = tree.of_product(lane, step, in, unit, number);
        return {i, i};
    }
    if (OCCURS(KRONECKER_SUM) && step.op == KRONECKER_SUM) {
        return tree.of_pairs(lane, step, in, unit, number);
    }
    if ((OCCURS(SUM) && step.op == SUM) || (OCCURS(MIX) && step.op == MIX)) {
        return tree.of_inputs(lane, step, in, unit, number);
    }
    return {unit, unit};
}

// Runs all steps of a part back for a row; which units of its outputs are picked stands in their rows already.
template <int OPS, class Tree>
__device__ __forceinline__ void follow(const Buffers& buffers, Lane& lane, const Tree& tree) {
    for (int n = lane.count - 1; n >= 0; --n) {
        const Step& step = lane.steps[n];
        if (step.out.gradient == NOWHERE) continue;
        const Operand* in = lane.operands + step.first_input;
        const int unit = (int)at(lane.gradients, step.out.gradient);
        if (OCCURS(IMPORT) && step.op == IMPORT) {
            buffers.picked[step.column * buffers.pitch + tree.row] = unit;
            continue;
        }
        if (is_leaf(step.op)) {
            if (unit == NOWHERE) continue;
            write_leaf(buffers, lane, tree.row, step.column, [&] {
                return tree.template leaf<OPS>(lane, step, unit, n);
            });
            continue;
        }
        bool lost = false;
        if (OCCURS(SPARSE) && step.op == SPARSE) {
            int term = NOWHERE;
            if (unit != NOWHERE) {
                term = tree.of_list(buffers, lane, step, unit, n);
                lost = term == NOWHERE;
            }
            choose_factors(buffers, lane, tree, in, step.inputs, term);
        } else {
            Two two = {NOWHERE, NOWHERE};
            if (unit != NOWHERE) {
                two = picked_units<OPS>(lane, tree, step, in, unit, n);
                lost = two.left == NOWHERE;
            }
            const bool sums = step.op == SUM || step.op == MIX;
            for (int i = 0; i < step.inputs; ++i) {
                const int of_sum = i == two.left ? two.right : NOWHERE;
                const int of_input = sums ? of_sum : i == 0 ? two.left : two.right;
                choose(buffers, lane, tree, in[i], of_input, n, i);
            }
        }
        if (lost) buffers.in_doubt[tree.row] = 1;
    }
}

// Writes that nothing was said of any variable of a row.
__device__ __forceinline__ void clear_drawn(const Buffers& buffers, long long row) {
    for (long long v = 0; v < buffers.variables; ++v) {
        buffers.drawn[v * buffers.pitch + row] = not_a_number();
    }
}

// Takes which units of a part's outputs the head has picked for a row. Returns whether there are any.
__device__ __forceinline__ bool take_picked(
    const Buffers& buffers, Lane& lane, const Part& part, long long row
) {
    bool any = false;
    for (int n = 0; n < part.outputs; ++n) {
        const Operand& out = lane.operands[part.first_output + n];
        const int unit = buffers.picked[(part.handed_outputs + n) * buffers.pitch + row];
        if (out.gradient >= 0) at(lane.gradients, out.gradient) = (float)unit;
        any = any || unit != NOWHERE;
    }
    return any;
}
