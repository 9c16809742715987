//! The circuit: a DAG of leaves, sums and products, each vector-valued.
