//! Runs every example: each checks what it shows.

#[path = "../examples/checkpoint_and_restore.rs"]
mod checkpoint_and_restore;
#[path = "../examples/dedup_ttl.rs"]
mod dedup_ttl;
#[path = "../examples/kafka_shaped_consumer.rs"]
mod kafka_shaped_consumer;
#[path = "../examples/read_a_checkpoint.rs"]
mod read_a_checkpoint;
#[path = "../examples/rescale.rs"]
mod rescale;
#[path = "../examples/session_windows.rs"]
mod session_windows;
#[path = "../examples/word_count.rs"]
mod word_count;

#[test]
fn examples_do_what_they_say() {
    word_count::main().unwrap();
    session_windows::main().unwrap();
    dedup_ttl::main().unwrap();
    checkpoint_and_restore::main().unwrap();
    rescale::main().unwrap();
    read_a_checkpoint::main().unwrap();
    kafka_shaped_consumer::main().unwrap();
}
