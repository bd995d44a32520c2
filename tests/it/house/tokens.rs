//! Rust source as names and marks, with comments, strings and test code left out.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single characters of everything else.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest, 1),
            '\'' => character_or_lifetime(rest),
            _ if c.is_alphabetic() || c == '_' => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                match word {
                    "r" | "br" | "cr" if after.starts_with(['"', '#']) => end + raw_string(after),
                    "b" | "c" if after.starts_with('"') => end + string(after, 1),
                    "b" if after.starts_with('\'') => end + character_or_lifetime(after),
                    _ => {
                        let text = word.to_owned();
                        tokens.push(Token { line, text });
                        end
                    }
                }
            }
            _ => {
                let text = if rest.starts_with("::") {
                    "::".to_owned()
                } else {
                    c.to_string()
                };
                let length = text.len();
                if !c.is_whitespace() {
                    tokens.push(Token { line, text });
                }
                length
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// After the `r`. `r#name` is a raw name, not a string: only its `#` is passed over.
fn raw_string(text: &str) -> usize {
    let hashes = text.chars().take_while(|&c| c == '#').count();
    if !text[hashes..].starts_with('"') {
        return hashes;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 1;
    text[body..]
        .find(&end)
        .map_or(text.len(), |at| body + at + end.len())
}

fn character_or_lifetime(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(text.len(), |at| at + 4),
        Some((_, _)) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// Leaves out each item under `#[cfg(test)]`, and everything in a file under `#![cfg(test)]`.
pub fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let texts: Vec<_> = tokens.iter().map(|token| token.text.as_str()).collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < texts.len() {
        if texts[at..].starts_with(&["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
            return Vec::new();
        }
        if texts[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = end_of_item(&texts, at + 7);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the `;` or the closing brace of the item that begins at `at`.
fn end_of_item(texts: &[&str], mut at: usize) -> usize {
    let mut depth = 0;
    while at < texts.len() {
        match texts[at] {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}
