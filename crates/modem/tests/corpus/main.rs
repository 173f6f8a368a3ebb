//! Replays what the fuzzers in `fuzz/` have found worth keeping, on stable and in every test run.

mod bodies;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use proptest::prelude::*;

use replay::replay;

#[test]
fn the_at_corpus_replays() {
    replay("at", bodies::at);
}

#[test]
fn the_caller_id_corpus_replays() {
    replay("caller_id", bodies::caller_id);
}

/// What modems say, in pieces, in any order.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let said = prop::sample::select(vec![
        "\r\nOK\r\n",
        "\r\nERROR\r\n",
        "\r\nRING\r\n",
        "NO CARRIER\r",
        "\r\nCONNECT 33600\r\n",
        "BUSY\r",
        "NMBR = 201\r\n",
        "NMBR = P\r\n",
        "+CLIP: \"201\",129\r\n",
        "RING;201;301\r",
        "\u{10}R",
        "ATZ\r\r\n",
        "CARRIER 33600\r\n",
        "0\r",
        "2\r",
        "80",
        "MESG = 030735353531323132\r\n",
        "\0\0",
        "é",
        "DELAYED\r",
        "\r\n\r\n",
        "x",
    ]);
    let piece = prop_oneof![
        4 => said.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec((any::<u8>(), piece), 0..40).prop_map(|pieces| {
        pieces
            .into_iter()
            .flat_map(|(operation, piece)| std::iter::once(operation).chain(piece))
            .collect()
    })
}

proptest! {
    #[test]
    fn a_modem_may_say_anything(octets in words()) {
        bodies::at(&octets);
        bodies::caller_id(&octets);
    }
}
