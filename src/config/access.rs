//! Who may use the API: a file with one line for each token, `role name sha256:DIGEST`.
//!
//! The file holds digests alone: who reads it cannot use the API. A digest of a guessable word can be guessed, which is why
//! `lockgate token` makes tokens of 256 random bits. A name may stand on several lines, so that an old and a new token are
//! both good for a while.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::{secret, text};

/// Names that the journal uses itself.
const RESERVED: [&str; 2] = ["lockgate", "nobody"];
const SCHEME: &str = "sha256:";

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Applications: read the flags and acknowledge them, and nothing else.
    Flags,
    /// Read everything.
    Viewer,
    /// Read, and do what can be taken back.
    Operator,
    /// Do also what cannot be taken back.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Flags, Self::Viewer, Self::Operator, Self::Admin];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flags => "flags",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| {
                format!(
                    "`{}` is no role; write one of flags, viewer, operator, admin",
                    text::short(word)
                )
            })
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    #[must_use]
    pub fn of(token: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(SCHEME)?.as_bytes();
        let (pairs, rest) = hex.as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let bytes = bytes.filter(|_| rest.is_empty())?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:***")
    }
}

/// One line of the file: whoever shows a token of this digest has this name and this role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub role: Role,
    pub name: String,
    pub digest: Digest,
}

/// The line of a token.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {SCHEME}", self.role, self.name)?;
        self.digest.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Whether a name may stand in the journal as somebody's.
///
/// # Errors
/// What to write instead.
pub fn check_name(name: &str) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!(
            "`{name}` is a name that the journal uses itself; take another"
        ));
    }
    if text::is_name(name) {
        return Ok(());
    }
    Err(format!(
        "`{}` is no name; write small letters, digits, `-` and `_`, a letter or digit first, at most 64",
        text::short(name)
    ))
}

/// The tokens of the file at this path.
///
/// # Errors
/// Why it cannot be read, or what is wrong with it; never its text.
pub fn read_tokens(path: &Path) -> Result<Vec<Token>, String> {
    let shown = path.display();
    secret::read(path).and_then(|file| parse(&file).map_err(|why| format!("{shown}: {why}")))
}

/// The tokens of a file. Empty lines and those that begin with `#` are left out.
///
/// # Errors
/// The first line that is none, and what to do about it; never the line itself, which may be a token by mistake.
fn parse(file: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in file.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |why: String| format!("line {}: {why}", index + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        let [role, name, digest] = words.as_slice() else {
            return Err(at(
                "write `role name sha256:DIGEST`, as `lockgate token` prints it".to_owned(),
            ));
        };
        let digest = Digest::parse(digest).ok_or_else(|| {
            at("the third word is no `sha256:` with 64 hexadecimal digits; `lockgate token` prints the whole line".to_owned())
        })?;
        let role = role.parse().map_err(at)?;
        check_name(name).map_err(at)?;
        if tokens.iter().any(|known| known.digest == digest) {
            return Err(at(
                "this token stands on an earlier line too; make one for each".to_owned(),
            ));
        }
        tokens.push(Token {
            role,
            name: (*name).to_owned(),
            digest,
        });
    }
    if tokens.is_empty() {
        return Err("holds no token; `lockgate token` makes one".to_owned());
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(role: Role, name: &str, token: &str) -> String {
        Token {
            role,
            name: name.to_owned(),
            digest: Digest::of(token),
        }
        .to_string()
    }

    #[test]
    fn a_line_is_read_as_it_is_printed() {
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            line(Role::Admin, "ana", "abc"),
            format!("admin ana {known}")
        );
        let file = format!(
            "# on call\n\n{}\n  {}  \n",
            line(Role::Operator, "ana", "one"),
            line(Role::Flags, "billing", "two")
        );
        let tokens = parse(&file).expect("reads");
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens[0].digest, Digest::of("one"));
        assert_eq!(
            (tokens[1].role, tokens[1].name.as_str()),
            (Role::Flags, "billing")
        );
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number_and_never_shown() {
        let good = line(Role::Admin, "ana", "one");
        for (file, words) in [
            (String::new(), "holds no token"),
            ("# nobody yet".to_owned(), "holds no token"),
            (format!("{good}\ns3cretMARKER"), "line 2: write"),
            (
                format!("{good}\nadmin bob s3cretMARKER"),
                "line 2: the third",
            ),
            ("admin bob sha256:00".to_owned(), "line 1: the third"),
            (good.replace("admin", "root"), "`root` is no role"),
            (good.replace("ana", "Ana"), "`Ana` is no name"),
            (good.replace("ana", "lockgate"), "uses itself"),
            (good.replace("ana", "nobody"), "uses itself"),
            (
                format!("{good}\n{}", good.replace("ana", "bob")),
                "line 2: this token",
            ),
        ] {
            let error = parse(&file).expect_err("refused");
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("MARKER"), "{error}");
        }
    }
}
