//! Messages that are compressed (RFC 7692), and the cases for them: 12 and 13.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{
    case::{Case, Ends, Said, Step},
    frames::{self, BINARY, COMPRESSED, TEXT},
};

/// What ends each part of a stream of deflate that can be read without the next, and is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Sizes of messages, and of the frames that they are cut into; 0 for a single frame.
const SIZES: [(usize, usize); 18] = [
    (16, 0),
    (64, 0),
    (256, 0),
    (1024, 0),
    (4096, 0),
    (8192, 0),
    (16_384, 0),
    (32_768, 0),
    (65_536, 0),
    (131_072, 0),
    (8192, 256),
    (16_384, 256),
    (32_768, 256),
    (65_536, 256),
    (131_072, 256),
    (131_072, 1024),
    (131_072, 4096),
    (131_072, 32_768),
];

/// What Autobahn offers if nothing else is said.
const USUAL: &str = "permessage-deflate; client_no_context_takeover; client_max_window_bits";

/// The offers of the cases 13.
const OFFERS: [&str; 7] = [
    USUAL,
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_no_context_takeover",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_max_window_bits=9",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_max_window_bits=15",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_no_context_takeover; server_max_window_bits=9",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_no_context_takeover; server_max_window_bits=15",
    "permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_no_context_takeover; server_max_window_bits=9, \
     permessage-deflate; client_no_context_takeover; client_max_window_bits; \
     server_no_context_takeover, \
     permessage-deflate; client_no_context_takeover; client_max_window_bits",
];

/// The cases 12 and 13. The data is of the same kinds as Autobahn's: JSON, a picture, prose, HTML
/// and what is compressed already.
pub(crate) fn cases(whole: bool) -> Vec<Case> {
    let kinds = [(TEXT, json()), (BINARY, picture()), (BINARY, prose()), (TEXT, html()), {
        (BINARY, noise(LONGEST))
    }];
    let mut cases = Vec::new();
    for (kind, data) in (1..).zip(&kinds) {
        for (number, size) in (1..).zip(SIZES) {
            cases.push(case(format!("12.{kind}.{number}"), USUAL, data, size, whole));
        }
    }
    for (kind, offer) in (1..).zip(OFFERS) {
        for (number, size) in (1..).zip(SIZES) {
            cases.push(case(format!("13.{kind}.{number}"), offer, &kinds[0], size, whole));
        }
    }
    cases
}

/// Messages from a rolling window over the data, each sent when the one before came back.
fn case(
    number: String,
    offer: &'static str,
    (opcode, data): &(u8, Vec<u8>),
    (size, cut): (usize, usize),
    whole: bool,
) -> Case {
    let messages = if whole { 1000 } else { (100_000 / size).clamp(2, 8) };
    let (mut steps, mut right) = (Vec::new(), Vec::new());
    for message in 0..messages {
        let from = message * size % (data.len() - size);
        let plain = &data[from..from + size];
        steps.push(Step::Write(compressed(*opcode, plain, cut)));
        steps.push(Step::Hear(message + 1));
        let plain = plain.to_vec();
        right.push(if *opcode == TEXT { Said::Text(plain) } else { Said::Binary(plain) });
    }
    Case { number, offer, steps, right: vec![right], ends: Ends::Client, codes: vec![1000] }
}

/// Returns the frames of a message that is compressed by itself.
fn compressed(opcode: u8, plain: &[u8], cut: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), false);
    let mut packed = Vec::with_capacity(plain.len() + 64 + plain.len() / 8);
    compress.compress_vec(plain, &mut packed, FlushCompress::Sync).unwrap();
    assert_eq!(compress.total_in(), plain.len() as u64);
    packed.truncate(packed.strip_suffix(&TAIL).expect("it was flushed").len());
    let size = if cut == 0 { packed.len().max(1) } else { cut };
    let mut frames = frames::fragments(opcode, &packed, size);
    frames[0].reserved = COMPRESSED;
    frames.iter().flat_map(frames::Frame::bytes).collect()
}

/// Reads messages that a server compressed.
pub(crate) struct Inflate(Decompress);

impl Inflate {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// Returns a message as it was. What came before may be referred to.
    pub(crate) fn message(&mut self, mut packed: Vec<u8>) -> Vec<u8> {
        packed.extend(TAIL);
        let mut plain = Vec::with_capacity(packed.len() * 4 + 1024);
        let before = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - before).unwrap();
            if taken == packed.len() && plain.len() < plain.capacity() {
                return plain;
            }
            plain.reserve(plain.capacity().max(1024));
            self.0.decompress_vec(&packed[taken..], &mut plain, FlushDecompress::Sync).unwrap();
        }
    }
}

/// As much data as the longest messages roll over.
const LONGEST: usize = 400_000;

fn json() -> Vec<u8> {
    let rows = (0_u32..).map(|row| {
        let odd = row.wrapping_mul(2_654_435_761);
        format!(r#"{{"id":{row},"name":"visitor {odd}","tags":["a","b{}"],"ok":true}},"#, odd % 97)
    });
    filled(rows)
}

fn html() -> Vec<u8> {
    let rows = (0_u32..).map(|row| {
        format!("<tr class=\"row-{}\"><td>{row}</td><td>cell &amp; more</td></tr>\n", row % 7)
    });
    filled(rows)
}

fn prose() -> Vec<u8> {
    let words =
        ["der", "Geist", "verneint", "stets", "und", "das", "mit", "Recht", "entsteht", "zu"];
    let mut random = 1_u32;
    let text = std::iter::repeat_with(move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{} ", words[(random >> 16) as usize % words.len()])
    });
    filled(text)
}

/// Grey that changes slowly, as pictures do.
fn picture() -> Vec<u8> {
    let grey = |at: usize| u8::try_from((at % 512 / 4 + at / 512 / 8) % 256).unwrap();
    (0..LONGEST)
        .map(|at| grey(at) ^ u8::try_from(at.wrapping_mul(7919) >> 5 & 3).unwrap())
        .collect()
}

/// What cannot be compressed.
fn noise(size: usize) -> Vec<u8> {
    let mut random = 0x2545_f491_u32;
    let bytes = std::iter::repeat_with(move || {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        u8::try_from(random >> 24).unwrap()
    });
    bytes.take(size).collect()
}

fn filled(pieces: impl Iterator<Item = String>) -> Vec<u8> {
    let mut data = Vec::with_capacity(LONGEST + 256);
    for piece in pieces {
        data.extend(piece.into_bytes());
        if data.len() >= LONGEST {
            break;
        }
    }
    assert!(data.is_ascii(), "it may be cut anywhere");
    data
}
