// Flows: the gradients of ln p by the units of leaves whose variable is missing. As these units are one, a flow is how
// likely a draw given the row takes its value from there.
//
// Contract of all functions here: a thread runs them for its own row, without barriers.

// flows[s] += Σⱼ d[j] p[j][s] for each state s of the variable that a column reads, if the row lacks it: what a
// leaf's table [units, states] of probabilities says of it. `d` are rows of this lane.
__device__ __forceinline__ void leaf_flows(
    const Buffers& buffers, const Lane& lane, int column, const float* table, int states, int units, float* d
) {
    const float x = column_of(lane, column);
    const int variable = lane.columns[column].variable;
    if (variable == NOWHERE || x == x) return;
    float* flows = lane.flows + buffers.first_states[variable] * buffers.pitch;
    const int pitch = pitch_of(states);
    for (int s = 0; s < states; ++s) {
        float sum = flows[s * buffers.pitch];
        for (int j = 0; j < units; ++j) sum += at(d, j) * table[j * pitch + s];
        flows[s * buffers.pitch] = sum;
    }
}

// The flows of an inline input, given the gradient by its units.
__device__ __forceinline__ void inline_flows(
    const Buffers& buffers, const Lane& lane, const Operand& input, float* d
) {
    if (input.gradient != TO_TABLE) return;
    const float* table = lane.coefficients + input.table;
    leaf_flows(buffers, lane, input.column, table, input.states, input.units, d);
}

// Leaves no gradient by units that are zero: where what they lost is watched, it could pass all numbers.
__device__ __forceinline__ void keep_possible(Lane& lane, const Operand& out) {
    for (int i = 0; i < out.units; ++i) {
        if (!(at(lane.values, out.rows + i) > 0.0f)) at(lane.gradients, out.gradient + i) = 0.0f;
    }
}
