use proptest::prelude::*;

use super::*;

const PING: u8 = 6;

fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
    let size = u32::try_from(len).expect("small").to_be_bytes();
    let mut bytes = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
    bytes.resize(FRAME_HEAD + len, 0xff);
    bytes
}

fn begun() -> Ledger {
    let mut ledger = Ledger::new(1);
    assert!(ledger.take(&[b'P'; PREFACE]));
    ledger
}

#[test]
fn frames_that_lead_nowhere_use_the_credit_up() {
    for (kind, flags, len) in
        [(PING, 0, 8), (4, 0, 0), (2, 0, 5), (8, 0, 4), (0x10, 0, 3), (DATA, 0, 0), (CONTINUATION, 0, 0)]
    {
        let mut ledger = begun();
        let one = frame(kind, flags, len);
        let taken = (0..5_000).take_while(|_| ledger.take(&one)).count();
        assert_eq!(taken, 1_000, "kind {kind}");
    }
}

#[test]
fn requests_and_bytes_raise_the_credit_up_to_its_bound() {
    let mut ledger = begun();
    for _ in 0..5_000 {
        assert!(ledger.take(&frame(HEADERS, END_HEADERS | END_STREAM, 20)));
        assert!((0..4).all(|_| ledger.take(&frame(PING, 0, 8))), "some pings with every request");
    }
    ledger.moved(1 << 40);
    let taken = (0..50_000).take_while(|_| ledger.take(&frame(PING, 0, 8))).count();
    assert_eq!(taken, 10_000);
}

#[test]
fn a_client_that_only_resets_is_cut_and_one_that_also_waits_is_not() {
    let mut ledger = begun();
    let pair = [frame(HEADERS, END_HEADERS | END_STREAM, 20), frame(RST_STREAM, 0, 4)].concat();
    let taken = (0..5_000).take_while(|_| ledger.take(&pair)).count();
    assert_eq!(taken, 200, "resets beyond a hundred and half of the requests");
    let mut ledger = begun();
    for _ in 0..5_000 {
        assert!(ledger.take(&pair) && ledger.take(&frame(HEADERS, END_HEADERS, 20)));
    }
}

#[test]
fn what_comes_slowly_may_come_for_days() {
    let mut ledger = begun();
    let pair = [frame(HEADERS, END_HEADERS | END_STREAM, 20), frame(RST_STREAM, 0, 4)].concat();
    for second in 1..200_000 {
        ledger.wait(1 + second * 1000);
        assert!((0..10).all(|_| ledger.take(&frame(PING, 0, 8))), "in second {second}");
        assert!(ledger.take(&pair), "in second {second}");
    }
    let taken = (0..5_000).take_while(|_| ledger.take(&frame(PING, 0, 8))).count();
    assert!((900..=1_000).contains(&taken), "time saves nothing up: {taken}");
    let mut ledger = begun();
    let cut = (1..1_000).find(|second| {
        ledger.wait(1 + second * 1000);
        !(0..12).all(|_| ledger.take(&frame(PING, 0, 8)))
    });
    assert_eq!(cut, Some(496), "two a second too many");
}

#[test]
fn an_open_block_of_fields_is_seen() {
    let mut ledger = begun();
    assert!(ledger.take(&frame(HEADERS, 0, 5)) && ledger.in_block);
    assert!(ledger.take(&frame(CONTINUATION, 0, 5)) && ledger.in_block);
    assert!(ledger.take(&frame(CONTINUATION, END_HEADERS, 5)) && !ledger.in_block);
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        frames in prop::collection::vec((0u8..12, any::<u8>(), 0usize..40), 0..40),
        cuts in prop::collection::vec(1usize..30, 1..20),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|&(kind, flags, len)| frame(kind, flags, len)).collect();
        let (mut whole, mut cut) = (begun(), begun());
        whole.take(&bytes);
        let mut rest = &bytes[..];
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*size).min(rest.len()));
            cut.take(now);
            rest = later;
        }
        prop_assert_eq!(
            (whole.credit, whole.requests, whole.resets, whole.in_block, whole.skip),
            (cut.credit, cut.requests, cut.resets, cut.in_block, cut.skip)
        );
    }
}
