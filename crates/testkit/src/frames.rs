//! Frames of HTTP/2 written by hand, for clients that do what no client may, and servers that do
//! what no server may.

pub mod client;

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The body of a message.
pub const DATA: u8 = 0;
/// The head of a message.
pub const HEADERS: u8 = 1;
/// Which stream is more important.
pub const PRIORITY: u8 = 2;
/// The end of a stream.
pub const RST_STREAM: u8 = 3;
/// What the sender takes.
pub const SETTINGS: u8 = 4;
/// A question whether the other side is there.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// How much more may be sent.
pub const WINDOW_UPDATE: u8 = 8;
/// The rest of a head.
pub const CONTINUATION: u8 = 9;

/// The flag of settings and pings that are answers.
pub const ACK: u8 = 1;
/// The flag of the last frame of a message.
pub const END_STREAM: u8 = 1;
/// The flag of the last frame of a head.
pub const END_HEADERS: u8 = 4;

/// Returns a frame. A payload may be of any length that three bytes can say.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = payload.len().to_be_bytes();
    let mut bytes = vec![high, middle, low, kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns the payload of SETTINGS.
pub fn settings_payload(settings: &[(u16, u32)]) -> Vec<u8> {
    let bytes = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    settings.iter().flat_map(bytes).collect()
}

/// Writes fields literally, without indexing and without Huffman codes (RFC 7541 §6.2.2).
pub fn fields<'a>(fields: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Writes an integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else {
        return block.push(low_bits(value));
    };
    block.push(127);
    while rest >= 128 {
        block.push(low_bits(rest) | 128);
        rest /= 128;
    }
    block.push(low_bits(rest));
}

fn low_bits(value: usize) -> u8 {
    let [.., low] = value.to_be_bytes();
    low & 127
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_fields_are_written_as_the_standards_say() {
        assert_eq!(frame(PING, ACK, 3, b"ab"), [0, 0, 2, 6, 1, 0, 0, 0, 3, b'a', b'b']);
        assert_eq!(settings_payload(&[(4, 65_535)]), [0, 4, 0, 0, 255, 255]);
        assert_eq!(fields(&[("a", "bc")]), [0, 1, b'a', 2, b'b', b'c']);
        let mut block = Vec::new();
        integer(&mut block, 1_337);
        assert_eq!(block, [127, 0b1011_1010, 9]);
    }
}
