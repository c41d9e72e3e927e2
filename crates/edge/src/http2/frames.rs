//! Where frames begin and end in what passes on an HTTP/2 connection (RFC 9113 §4.1), without
//! looking at what they carry. Bytes may come in any pieces.

/// What every client says first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
#[cfg(test)]
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
#[cfg(test)]
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// The bytes in front of a frame's payload.
const HEAD: usize = 9;

/// The error code that `RST_STREAM` carries.
const CODE: usize = 4;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it is.
    pub(super) kind: u8,
    /// Its flags.
    pub(super) flags: u8,
    /// The bytes of its payload.
    pub(super) length: usize,
    /// Its stream; 0 is the connection.
    pub(super) stream: u32,
    /// The error code of `RST_STREAM`; 0 of others.
    pub(super) code: u32,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// What is left of a preface or a payload.
    skip: usize,
    head: [u8; HEAD + CODE],
    /// How much of `head` is there.
    there: usize,
    in_preface: bool,
}

impl Frames {
    /// Returns what a client sends.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE.len(), in_preface: true, ..Self::of_server() }
    }

    /// Returns what a server sends.
    pub(super) fn of_server() -> Self {
        Self { skip: 0, head: [0; HEAD + CODE], there: 0, in_preface: false }
    }

    /// Takes what passes next, and tells of each frame once its head is there.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                self.in_preface &= self.skip > 0;
                continue;
            }
            let wanted = self.wanted();
            let missing = self.head.get_mut(self.there..wanted).unwrap_or_default();
            let taken = missing.len().min(bytes.len());
            for (to, from) in missing.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.there += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.there == self.wanted() {
                let frame = self.frame();
                self.skip = (frame.length + HEAD).saturating_sub(self.there);
                self.there = 0;
                each(frame);
            }
        }
    }

    /// Tells whether the preface is not whole yet.
    pub(super) fn is_in_preface(&self) -> bool {
        self.in_preface
    }

    /// Tells whether the last frame has passed wholly, so that another may follow.
    pub(super) fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.there == 0
    }

    /// Tells whether something of the last frame's payload is missing.
    pub(super) fn is_in_payload(&self) -> bool {
        self.skip > 0
    }

    fn wanted(&self) -> usize {
        let frame = self.frame();
        let has_code = frame.kind == RST_STREAM && frame.length >= CODE;
        if self.there >= HEAD && has_code { HEAD + CODE } else { HEAD }
    }

    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, s0, s1, s2, s3, code @ ..] = self.head;
        let code = if kind == RST_STREAM { u32::from_be_bytes(code) } else { 0 };
        Frame {
            kind,
            flags,
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            code,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the bytes of a frame.
    pub(crate) fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags];
        [&head[..], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn the_code_of_a_reset_is_read_with_its_head() {
        let mut frames = Frames::of_server();
        let mut found = Vec::new();
        frames.pass(&bytes(RST_STREAM, 0, 3, &8_u32.to_be_bytes()), |frame| found.push(frame));
        frames.pass(&bytes(PING, 1, 0, &[7; 8]), |frame| found.push(frame));
        let reset = Frame { kind: RST_STREAM, flags: 0, length: 4, stream: 3, code: 8 };
        assert_eq!(found, [reset, Frame { kind: PING, flags: 1, length: 8, stream: 0, code: 0 }]);
        assert!(frames.is_between_frames());
    }

    #[test]
    fn a_preface_is_no_frame() {
        let mut frames = Frames::of_client();
        frames.pass(&PREFACE[..20], |frame| panic!("{frame:?}"));
        assert!(frames.is_in_preface());
        frames.pass(&PREFACE[20..], |frame| panic!("{frame:?}"));
        assert!(!frames.is_in_preface() && frames.is_between_frames());
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_come(
            sent in proptest::collection::vec((0_u8..12, any::<u8>(), 0_u32..9, 0_usize..40), 0..20),
            pieces in proptest::collection::vec(1_usize..30, 1..40),
        ) {
            let mut wire = Vec::new();
            for (kind, flags, stream, length) in &sent {
                wire.extend(bytes(*kind, *flags, *stream, &vec![0xff; *length]));
            }
            let mut frames = Frames::of_server();
            let mut found = Vec::new();
            let mut rest = &wire[..];
            for piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                frames.pass(now, |frame| found.push(frame));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(frames.is_between_frames());
            let found: Vec<_> =
                found.iter().map(|f| (f.kind, f.flags, f.stream, f.length)).collect();
            prop_assert_eq!(found, sent);
        }
    }
}
