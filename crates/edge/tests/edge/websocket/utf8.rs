//! Sequences of bytes that are UTF-8 and that are not, after Markus Kuhn's stress test for decoders
//! (<https://www.cl.cam.ac.uk/~mgk25/ucs/examples/UTF-8-test.txt>): the cases 6.5 to 6.23.

/// A word whose letters take two and three bytes.
pub(crate) const KOSME: &[u8] = "κ\u{1f79}σμε".as_bytes();

/// What a sequence is, and its bytes.
type Sequence = (bool, Vec<u8>);

/// The sequences of each kind, in the order of the cases.
pub(crate) fn sequences() -> Vec<Vec<Sequence>> {
    let prefixes = (1..=KOSME.len()).map(|end| &KOSME[..end]);
    let missing: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    vec![
        // Text.
        judged([
            b"hello$world",
            "hello¢world".as_bytes(),
            "hello€world".as_bytes(),
            "hello𤭢world".as_bytes(),
            KOSME,
        ]),
        judged(prefixes),
        // The first and the last of each length.
        judged([&b"\x00"[..], b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        judged([&b"\xf8\x88\x80\x80\x80"[..], b"\xfc\x84\x80\x80\x80\x80"]),
        judged([&b"\x7f"[..], b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        judged([&b"\xf7\xbf\xbf\xbf"[..], b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        judged([
            &b"\xed\x9f\xbf"[..],
            b"\xee\x80\x80",
            b"\xef\xbf\xbd",
            b"\xf4\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
        ]),
        unexpected(),
        lonely(),
        judged(missing),
        judged([&missing.concat()[..]]),
        judged([&b"\xfe"[..], b"\xff", b"\xfe\xfe\xff\xff"]),
        // More bytes than it takes.
        judged([
            &b"\xc0\xaf"[..],
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf",
        ]),
        judged([
            &b"\xc1\xbf"[..],
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ]),
        judged([
            &b"\xc0\x80"[..],
            b"\xe0\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf8\x80\x80\x80\x80",
            b"\xfc\x80\x80\x80\x80\x80",
        ]),
        // Halves of UTF-16.
        judged([
            &b"\xed\xa0\x80"[..],
            b"\xed\xad\xbf",
            b"\xed\xae\x80",
            b"\xed\xaf\xbf",
            b"\xed\xb0\x80",
            b"\xed\xbe\x80",
            b"\xed\xbf\xbf",
        ]),
        pairs(),
        no_characters(),
        judged((0xfff9..=0xffff).map(encoded)),
    ]
}

/// Whether each is UTF-8 is what the standard library says.
fn judged(sequences: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Sequence> {
    let judge = |sequence: Vec<u8>| (std::str::from_utf8(&sequence).is_ok(), sequence);
    sequences.into_iter().map(|sequence| judge(sequence.as_ref().to_vec())).collect()
}

/// Continuations of nothing.
fn unexpected() -> Vec<Sequence> {
    let turns = b"\x80\xbf\x80\xbf\x80\xbf";
    let mut all = vec![b"\x80".to_vec(), b"\xbf".to_vec()];
    all.extend((2..=turns.len()).map(|length| turns[..length].to_vec()));
    all.push((0x80..0xbf).collect());
    judged(all)
}

/// First bytes that a space follows.
fn lonely() -> Vec<Sequence> {
    let kinds = [0xc0..0xdf, 0xe0..0xef, 0xf0..0xf7, 0xf8..0xfb, 0xfc..0xfd_u8];
    judged(kinds.map(|kind| kind.flat_map(|byte| [byte, b' ']).collect::<Vec<u8>>()))
}

/// Characters beyond 65,535 written as two halves of UTF-16.
fn pairs() -> Vec<Sequence> {
    let high: [&[u8]; 4] = [b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf"];
    let low: [&[u8]; 2] = [b"\xed\xb0\x80", b"\xed\xbf\xbf"];
    judged(high.iter().flat_map(|high| low.map(|low| [*high, low].concat())))
}

/// The last two of each plane, which no character will ever be, but UTF-8 all the same.
fn no_characters() -> Vec<Sequence> {
    let planes = (0..=16_u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    judged(planes.map(encoded))
}

fn encoded(code: u32) -> Vec<u8> {
    char::from_u32(code).unwrap().to_string().into_bytes()
}
