//! Reads what was printed back into a tree, as Caddy reads a file that is imported.

use super::{
    syntax::{Directive, Word},
    tokens::{Token, tokens},
};

/// Returns the directives of an imported file.
pub(super) fn parse(text: &str) -> Vec<Directive> {
    let tokens = tokens(text).unwrap();
    let mut rest = tokens.as_slice();
    let directives = block(&mut rest);
    assert!(rest.is_empty(), "a brace too many before {rest:?}");
    directives
}

fn block(rest: &mut &[Token]) -> Vec<Directive> {
    let mut directives = Vec::new();
    while let Some((first, tail)) = rest.split_first() {
        assert!(first.is_first, "{first:?} stands on a line of its own");
        if is(first, "}") {
            return directives;
        }
        let mut words = vec![word(first)];
        *rest = tail;
        let mut inner = None;
        while let Some((token, tail)) = rest.split_first() {
            if token.is_first {
                break;
            }
            *rest = tail;
            if is(token, "{") {
                inner = Some(block(rest));
                let (end, tail) = rest.split_first().unwrap();
                assert!(is(end, "}"));
                *rest = tail;
                break;
            }
            words.push(word(token));
        }
        directives.push(Directive { words, block: inner });
    }
    directives
}

fn is(token: &Token, brace: &str) -> bool {
    token.text == brace && !token.is_quoted
}

/// What an import does to a token.
fn word(token: &Token) -> Word {
    let text = &token.text;
    Word::from(if text.contains('{') {
        text.replace("\\{", "{").replace("\\}", "}")
    } else {
        text.clone()
    })
}
