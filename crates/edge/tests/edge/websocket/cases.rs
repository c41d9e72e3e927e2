//! The cases, in the numbers of the Autobahn test suite: 1 framing, 2 pings, 3 reserved bits,
//! 4 opcodes, 5 fragmentation, 6 UTF-8, 7 closing, 9 limits, 10 what is left. Each says what RFC
//! 6455 asks of a server that sends everything back; 6.4 may be judged at the end of the message.

use super::{
    case::{Case, Ends, Said, Step},
    frames::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT, close, fragments, part, whole},
    utf8,
};

const HELLO: &str = "Hello, world!";
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const INVALID_DATA: u16 = 1007;

/// All of them but those of compression, with data of up to 256 KiB, or of up to 16 MiB.
pub(crate) fn cases(whole: bool) -> Vec<Case> {
    let parts = [framing(), pings(), reserved(), opcodes(), fragmentation(), text(), closing()];
    parts.into_iter().flatten().chain(limits(whole)).collect()
}

/// How the bytes of frames come.
#[derive(Clone, Copy)]
enum Chops {
    /// All at once.
    One,
    /// Frame by frame.
    Frames,
    /// So many bytes at once.
    Bytes(usize),
}

fn steps(frames: &[Frame], chops: Chops) -> Vec<Step> {
    let all = || frames.iter().flat_map(Frame::bytes).collect();
    match chops {
        Chops::One => vec![Step::Write(all())],
        Chops::Frames => frames.iter().map(|frame| Step::Write(frame.bytes())).collect(),
        Chops::Bytes(size) => vec![Step::Chop(all(), size)],
    }
}

/// The client sends what is right, hears the answers and closes.
fn good(number: impl Into<String>, steps: Vec<Step>, said: Vec<Said>) -> Case {
    Case {
        number: number.into(),
        offer: "",
        steps,
        right: vec![said],
        ends: Ends::Client,
        codes: vec![NORMAL],
    }
}

/// The server has to give the connection up. What came before the fault, it may have answered.
fn bad(number: impl Into<String>, steps: Vec<Step>, before: Vec<Said>, code: u16) -> Case {
    let mut case = Case { ends: Ends::Server, codes: vec![code], ..good(number, steps, vec![]) };
    if !before.is_empty() {
        case.right.push(before);
    }
    case
}

/// The client closes by itself.
fn closes(number: impl Into<String>, frames: &[Frame], said: Vec<Said>, codes: &[u16]) -> Case {
    let case = good(number, steps(frames, Chops::One), said);
    Case { ends: Ends::Step, codes: codes.to_vec(), ..case }
}

fn says(text: impl AsRef<[u8]>) -> Vec<Said> {
    vec![Said::Text(text.as_ref().to_vec())]
}

fn said(opcode: u8, payload: &[u8]) -> Said {
    if opcode == TEXT { Said::Text(payload.to_vec()) } else { Said::Binary(payload.to_vec()) }
}

fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, opcode, byte) in [(1, TEXT, b'*'), (2, BINARY, 0xfe)] {
        let sizes = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
        for (number, size) in (1..).zip(sizes) {
            let payload = vec![byte; size];
            let chops = if number == 8 { Chops::Bytes(997) } else { Chops::One };
            let steps = steps(&[whole(opcode, &payload)], chops);
            cases.push(good(format!("1.{kind}.{number}"), steps, vec![said(opcode, &payload)]));
        }
    }
    cases
}

fn pings() -> Vec<Case> {
    let ping = |number: &str, payload: &[u8], chops| {
        let answer = vec![Said::Pong(payload.to_vec())];
        good(number, steps(&[whole(PING, payload)], chops), answer)
    };
    let unasked = whole(PONG, "unsolicited pong payload");
    let pinged = [unasked.clone(), whole(PING, "ping payload")];
    let ten: Vec<Frame> = (0..10).map(|number| whole(PING, format!("payload-{number}"))).collect();
    let pongs: Vec<Said> = ten.iter().map(|ping| Said::Pong(ping.payload.clone())).collect();
    let end = close(NORMAL, "");
    vec![
        ping("2.1", b"", Chops::One),
        ping("2.2", b"Hello, world!", Chops::One),
        ping("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", Chops::One),
        ping("2.4", &[0xfe; 125], Chops::One),
        bad("2.5", steps(&[whole(PING, [0xfe; 126])], Chops::One), vec![], PROTOCOL_ERROR),
        ping("2.6", &[0xfe; 125], Chops::Bytes(1)),
        closes("2.7", &[whole(PONG, ""), end.clone()], vec![], &[NORMAL]),
        closes("2.8", &[unasked, end], vec![], &[NORMAL]),
        good("2.9", steps(&pinged, Chops::One), vec![Said::Pong(b"ping payload".to_vec())]),
        good("2.10", steps(&ten, Chops::One), pongs.clone()),
        good("2.11", steps(&ten, Chops::Bytes(1)), pongs),
    ]
}

fn reserved() -> Vec<Case> {
    let hello = whole(TEXT, HELLO);
    let then = |frame: Frame| [hello.clone(), frame, whole(PING, "")];
    let bytes = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let bad = |number: &str, frames: &[Frame], chops, before| {
        bad(number, steps(frames, chops), before, PROTOCOL_ERROR)
    };
    let again = |bits| then(hello.clone().reserving(bits));
    vec![
        bad("3.1", &[hello.clone().reserving(1)], Chops::One, vec![]),
        bad("3.2", &again(2), Chops::One, says(HELLO)),
        bad("3.3", &again(3), Chops::Frames, says(HELLO)),
        bad("3.4", &again(4), Chops::Bytes(1), says(HELLO)),
        bad("3.5", &[whole(BINARY, bytes).reserving(5)], Chops::One, vec![]),
        bad("3.6", &[whole(PING, HELLO).reserving(6)], Chops::One, vec![]),
        bad("3.7", &[whole(CLOSE, "").reserving(7)], Chops::One, vec![]),
    ]
}

fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, first) in [(1, 3), (2, 11)] {
        let name = |number: u8| format!("4.{kind}.{number}");
        let bad = |number, frames: &[Frame], chops, before| {
            bad(name(number), steps(frames, chops), before, PROTOCOL_ERROR)
        };
        let then = |frame: Frame| [whole(TEXT, HELLO), frame, whole(PING, "")];
        let payload = "reserved opcode payload";
        cases.extend([
            bad(1, &[whole(first, "")], Chops::One, vec![]),
            bad(2, &[whole(first + 1, payload)], Chops::One, vec![]),
            bad(3, &then(whole(first + 2, "")), Chops::One, says(HELLO)),
            bad(4, &then(whole(first + 3, HELLO)), Chops::One, says(HELLO)),
            bad(5, &then(whole(first + 4, HELLO)), Chops::Bytes(1), says(HELLO)),
        ]);
    }
    cases
}

fn fragmentation() -> Vec<Case> {
    let in_two = [part(TEXT, "fragment1"), whole(CONTINUATION, "fragment2")];
    let [one, two] = in_two.clone();
    let both = || says("fragment1fragment2");
    let pinged = [one.clone(), whole(PING, "ping payload"), two.clone()];
    let answered = || [vec![Said::Pong(b"ping payload".to_vec())], both()].concat();
    let chops = [Chops::One, Chops::Frames, Chops::Bytes(1)];
    let bad = |number: &str, frames: &[Frame], chops, before| {
        bad(number, steps(frames, chops), before, PROTOCOL_ERROR)
    };
    let mut cases = Vec::new();
    for (number, opcode) in [("5.1", PING), ("5.2", PONG)] {
        let frames = [part(opcode, "fragment1"), two.clone()];
        cases.push(bad(number, &frames, Chops::One, vec![]));
    }
    for (number, chops) in (3..).zip(chops) {
        cases.push(good(format!("5.{number}"), steps(&in_two, chops), both()));
        cases.push(good(format!("5.{}", number + 3), steps(&pinged, chops), answered()));
        let lost = whole(CONTINUATION, "non-continuation payload");
        let open = Frame { last: false, ..lost.clone() };
        let hello = whole(TEXT, HELLO);
        let name = format!("5.{}", number + 6);
        cases.push(bad(&name, &[lost, hello.clone()], chops, vec![]));
        cases.push(bad(&format!("5.{}", number + 9), &[open, hello], chops, vec![]));
    }
    let lost = part(CONTINUATION, "fragment3");
    let after = [one.clone(), two.clone(), lost, whole(TEXT, "fragment4")];
    cases.push(bad("5.15", &after, Chops::One, both()));
    for (number, last) in [("5.16", false), ("5.17", true)] {
        let lost = Frame { last, ..whole(CONTINUATION, "fragment1") };
        let then = [part(TEXT, "fragment2"), whole(CONTINUATION, "fragment3")];
        let turn = [&[lost][..], &then].concat();
        cases.push(bad(number, &[&turn[..], &turn].concat(), Chops::One, vec![]));
    }
    cases.push(bad("5.18", &[one, whole(TEXT, "fragment2")], Chops::One, vec![]));
    cases.push(interleaved("5.19", Chops::One));
    cases.push(interleaved("5.20", Chops::Frames));
    cases
}

/// Pings within a message: the first is answered before the message ends.
fn interleaved(number: &str, chops: Chops) -> Case {
    let begin = [part(TEXT, "fragment1"), part(CONTINUATION, "fragment2"), whole(PING, "1!")];
    let end = [
        part(CONTINUATION, "fragment3"),
        part(CONTINUATION, "fragment4"),
        whole(PING, "2!"),
        whole(CONTINUATION, "fragment5"),
    ];
    let all = [steps(&begin, chops), vec![Step::Hear(1)], steps(&end, chops)].concat();
    let text = Said::Text(b"fragment1fragment2fragment3fragment4fragment5".to_vec());
    let pong = |payload: &str| Said::Pong(payload.as_bytes().to_vec());
    good(number, all, vec![pong("1!"), pong("2!"), text])
}

fn text() -> Vec<Case> {
    let good = |number: &str, frames: &[Frame]| {
        let text: Vec<u8> = frames.iter().flat_map(|frame| frame.payload.clone()).collect();
        good(number, steps(frames, Chops::One), says(text))
    };
    let bad = |number: &str, steps| bad(number, steps, vec![], INVALID_DATA);
    let bytewise = |text: &[u8]| fragments(TEXT, text, 1);
    let (begin, end) = ("Hello-µ@ßöä", "üàá-UTF-8!!");
    let invalid = [utf8::KOSME, b"\xed\xa0\x80", b"edited"].concat();
    let late = [utf8::KOSME, b"\xf4\x90\x80\x80", b"edited"].concat();
    let mut cases = vec![
        good("6.1.1", &[whole(TEXT, "")]),
        good("6.1.2", &[part(TEXT, ""), part(CONTINUATION, ""), whole(CONTINUATION, "")]),
        good("6.1.3", &[part(TEXT, ""), part(CONTINUATION, "middle"), whole(CONTINUATION, "")]),
        good("6.2.1", &[whole(TEXT, [begin, end].concat())]),
        good("6.2.2", &[part(TEXT, begin), whole(CONTINUATION, end)]),
        good("6.2.3", &bytewise([begin, end].concat().as_bytes())),
        good("6.2.4", &bytewise(utf8::KOSME)),
        bad("6.3.1", steps(&[whole(TEXT, &invalid)], Chops::One)),
        bad("6.3.2", steps(&bytewise(&invalid), Chops::One)),
        bad("6.4.1", slowly(&late, [11, 15], true)),
        bad("6.4.2", slowly(&late, [12, 13], true)),
        bad("6.4.3", slowly(&late, [11, 15], false)),
        bad("6.4.4", slowly(&late, [12, 13], false)),
    ];
    for (kind, sequences) in (5..).zip(utf8::sequences()) {
        for (number, (valid, sequence)) in (1..).zip(sequences) {
            let (name, frame) = (format!("6.{kind}.{number}"), whole(TEXT, sequence));
            cases.push(if valid {
                good(&name, &[frame])
            } else {
                bad(&name, steps(&[frame], Chops::One))
            });
        }
    }
    cases
}

/// A message in three parts that are frames or pieces of one frame, with time between them.
fn slowly(text: &[u8], [first, second]: [usize; 2], in_frames: bool) -> Vec<Step> {
    let write = |bytes: &[u8]| Step::Write(bytes.to_vec());
    let (a, b, c) = if in_frames {
        let middle = part(CONTINUATION, &text[first..second]).bytes();
        let last = whole(CONTINUATION, &text[second..]).bytes();
        (part(TEXT, &text[..first]).bytes(), middle, last)
    } else {
        let bytes = whole(TEXT, text).bytes();
        let head = bytes.len() - text.len();
        let (rest, last) = bytes.split_at(head + second);
        let (begin, middle) = rest.split_at(head + first);
        (begin.to_vec(), middle.to_vec(), last.to_vec())
    };
    vec![write(&a), Step::Moment, write(&b), Step::Moment, write(&c)]
}

fn closing() -> Vec<Case> {
    let (text, end, ping) = (whole(TEXT, HELLO), close(NORMAL, ""), whole(PING, ""));
    let normal = |number: &str, frames: &[Frame]| closes(number, frames, vec![], &[NORMAL]);
    let wrong = |number: &str, payload: &[u8], codes: &[u16]| {
        closes(number, &[whole(CLOSE, payload)], vec![], codes)
    };
    let large: String = "BAsd7&jh23".chars().cycle().take(256 << 10).collect();
    let split = [part(TEXT, "fragment1"), end.clone(), whole(CONTINUATION, "fragment2")];
    let mut all_at_once = normal("7.1.6", &[whole(TEXT, &large), text.clone(), end.clone(), ping]);
    // How much it sends back before it closes is a server's own affair.
    all_at_once.right = vec![vec![], says(&large), [says(&large), says(HELLO)].concat()];
    let invalid = [&NORMAL.to_be_bytes()[..], utf8::KOSME, b"\xed\xa0\x80edited"].concat();
    let mut cases = vec![
        good("7.1.1", steps(std::slice::from_ref(&text), Chops::One), says(HELLO)),
        normal("7.1.2", &[end.clone(), whole(CLOSE, "")]),
        normal("7.1.3", &[end.clone(), whole(PING, "")]),
        normal("7.1.4", &[end, text]),
        // Some take offence at the message that has no end.
        closes("7.1.5", &split, vec![], &[NORMAL, PROTOCOL_ERROR]),
        all_at_once,
        normal("7.3.1", &[whole(CLOSE, "")]),
        wrong("7.3.2", b"a", &[PROTOCOL_ERROR]),
        normal("7.3.3", &[close(NORMAL, "")]),
        normal("7.3.4", &[close(NORMAL, "Hello World!")]),
        normal("7.3.5", &[close(NORMAL, "*".repeat(123))]),
        closes("7.3.6", &[close(NORMAL, "*".repeat(124))], vec![], &[PROTOCOL_ERROR]),
        wrong("7.5.1", &invalid, &[PROTOCOL_ERROR, INVALID_DATA]),
    ];
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for (number, code) in (1..).zip(valid) {
        let codes = [NORMAL, code];
        cases.push(closes(format!("7.7.{number}"), &[close(code, "")], vec![], &codes));
    }
    for (number, code) in (1..).zip([0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]) {
        let frames = [close(code, "")];
        cases.push(closes(format!("7.9.{number}"), &frames, vec![], &[PROTOCOL_ERROR]));
    }
    cases.push(wrong("7.13.1", &5000_u16.to_be_bytes(), &[NORMAL, 5000, PROTOCOL_ERROR]));
    // No frame can hold this code; a server reads 1, and a reason.
    cases.push(wrong("7.13.2", &65_536_u32.to_be_bytes(), &[NORMAL, 1, PROTOCOL_ERROR]));
    cases
}

/// Sizes and numbers. Not in whole, all sizes are a 64th, and a tenth of the messages are sent.
fn limits(in_whole: bool) -> Vec<Case> {
    let scale = if in_whole { 1 } else { 64 };
    let mut cases = Vec::new();
    for (kind, opcode) in [(0, TEXT), (1, BINARY)] {
        let payload = |size: usize| -> Vec<u8> {
            let pattern: &[u8] =
                if opcode == TEXT { b"BAsd7&jh23" } else { b"\x00\xfe\x23\xfa\xf0" };
            pattern.iter().copied().cycle().take(size).collect()
        };
        let mut add = |number: String, steps: Vec<Step>, payload: &[u8]| {
            cases.push(good(number, steps, vec![said(opcode, payload)]));
        };
        let sizes = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20];
        for (number, size) in (1..).zip(sizes) {
            let payload = payload(size / scale);
            let steps = steps(&[whole(opcode, &payload)], Chops::One);
            add(format!("9.{}.{number}", 1 + kind), steps, &payload);
        }
        let cuts = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
        for (number, cut) in (1..).zip(cuts) {
            let payload = payload((4 << 20) / scale);
            let steps = steps(&fragments(opcode, &payload, cut), Chops::One);
            add(format!("9.{}.{number}", 3 + kind), steps, &payload);
        }
        for (number, chop) in (1..).zip([64, 128, 256, 512, 1024, 2048]) {
            let payload = payload((1 << 20) / scale);
            let steps = steps(&[whole(opcode, &payload)], Chops::Bytes(chop));
            add(format!("9.{}.{number}", 5 + kind), steps, &payload);
        }
        for (number, size) in (1..).zip([0, 16, 64, 256, 1024, 4096]) {
            let (payload, messages) = (payload(size), if in_whole { 1000 } else { 100 });
            let frame = whole(opcode, &payload).bytes();
            let turn = |message| [Step::Write(frame.clone()), Step::Hear(message)];
            let steps = (1..=messages).flat_map(turn).collect();
            let number = format!("9.{}.{number}", 7 + kind);
            cases.push(good(number, steps, vec![said(opcode, &payload); messages]));
        }
    }
    let stars = vec![b'*'; 65_536];
    cases.push(good("10.1.1", steps(&fragments(TEXT, &stars, 1300), Chops::One), says(&stars)));
    cases
}
