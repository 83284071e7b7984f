//! What operations on typed states cost, beside those of the raw store.
fn main() {}
