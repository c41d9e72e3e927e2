//! Words that survive every step of Caddy's reading.

use proptest::prelude::*;

use super::{
    print::Printer,
    syntax::{Directive, Word},
    text::Unwritable,
    tree::parse,
};

#[test]
fn a_users_text_is_quoted_so_that_it_stays_where_it_is() {
    for (text, written) in [
        ("plain", "respond * plain\n"),
        ("two words", "respond * `two words`\n"),
        ("{http.request.host}", "respond * `\\\\{http.request.host\\\\}`\n"),
        ("{$HOME}", "respond * `\\\\{$PORTWAY_BRACE:{}$HOME\\\\}`\n"),
        ("a`b\"c", "respond * \"a`b\\\"c\"\n"),
        ("", "respond * ``\n"),
        ("{", "respond * `\\\\{`\n"),
        ("a\nb", "respond * `a\nb`\n"),
    ] {
        let directive = respond(text).unwrap();
        assert_eq!(print(&[directive]).unwrap(), written, "{text}");
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    assert_eq!(Word::text("a\\}"), Err(Unwritable::Brace));
    for (text, why) in [
        ("`\\", Unwritable::Quotes),
        ("`\\\"", Unwritable::Quotes),
        ("}", Unwritable::Alone),
        ("\u{0}", Unwritable::Control),
        ("\r", Unwritable::Control),
    ] {
        assert_eq!(print(&[respond(text).unwrap()]), Err(why), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(tree in proptest::collection::vec(directive(), 0..4)) {
        if let Ok(text) = print(&tree) {
            prop_assert_eq!(parse(&text), tree, "{}", text);
        }
    }

    #[test]
    fn a_users_text_arrives_as_it_was(text in "[a-z {}$\\\\`\"#<\n@/*]{0,12}") {
        let Ok(directive) = respond(&text) else { return Ok(()) };
        let Ok(printed) = print(std::slice::from_ref(&directive)) else { return Ok(()) };
        let back = parse(&printed);
        prop_assert_eq!(&back, &vec![directive], "{}", printed);
        let word = back[0].words[2].as_str();
        // What a directive does to its words.
        let text_again =
            if word.contains('{') { word.replace("\\{", "{").replace("\\}", "}") } else { word.to_owned() };
        prop_assert_eq!(text_again, text);
    }
}

fn directive() -> impl Strategy<Value = Directive> {
    let word = prop_oneof![
        "[a-z]{1,6}".prop_map(Word::from),
        "[a-z {}$\\\\`\"#<]{1,8}".prop_filter_map("a text", |text| Word::text(&text).ok()),
    ];
    let name = "[a-z]{1,6}".prop_map(Word::from);
    let words = (name, proptest::collection::vec(word, 0..3))
        .prop_map(|(name, words)| std::iter::once(name).chain(words).collect::<Vec<_>>());
    let leaf = words.clone().prop_map(Directive::new);
    leaf.prop_recursive(2, 8, 3, move |inner| {
        (words.clone(), proptest::collection::vec(inner, 0..3))
            .prop_map(|(words, block)| Directive::new(words).with(block))
    })
}

fn respond(text: &str) -> Result<Directive, Unwritable> {
    Ok(Directive::new([Word::ours("respond"), Word::ours("*"), Word::text(text)?]))
}

fn print(directives: &[Directive]) -> Result<String, Unwritable> {
    let mut printer = Printer::default();
    printer.print(directives, 0)?;
    Ok(printer.finish().0)
}
