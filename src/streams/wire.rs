//! Redis's wire format: commands into bytes, and a cursor over the bytes of a reply.
//!
//! The cursor is honest about what it has not got: a reply that ends in the middle is [`Stop::More`], with the length
//! that the bytes must have before another look is worth it; never a shorter value. Bytes that are no reply are
//! [`Stop::Malformed`]. It reads RESP2, and of RESP3 what the commands here would get: maps, null, verbatim strings.

/// Longest bulk string believed; beyond it the bytes are no reply. Redis itself takes 512 MB unless told otherwise.
const MAX_BULK: i64 = 1 << 30;
/// Most elements of an array believed.
const MAX_ELEMENTS: i64 = 1 << 28;

/// Writes commands one behind the other.
pub(super) struct Commands<'a>(pub(super) &'a mut bytes::BytesMut);

impl Commands<'_> {
    /// Begins a command of `words` words; as many [`word`](Self::word)s must follow.
    pub(super) fn begin(&mut self, words: usize) -> &mut Self {
        self.0.extend_from_slice(b"*");
        self.number(words as u64);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub(super) fn word(&mut self, word: &[u8]) -> &mut Self {
        self.0.extend_from_slice(b"$");
        self.number(word.len() as u64);
        self.0.extend_from_slice(b"\r\n");
        self.0.extend_from_slice(word);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// A whole command.
    pub(super) fn command(&mut self, words: &[&[u8]]) -> &mut Self {
        self.begin(words.len());
        for word in words {
            self.word(word);
        }
        self
    }

    pub(super) fn id(&mut self, id: crate::entry::EntryId) -> &mut Self {
        let mut text = Digits::new();
        text.push(id.ms).push_byte(b'-').push(id.seq);
        self.word(text.as_bytes())
    }

    pub(super) fn integer(&mut self, n: u64) -> &mut Self {
        let mut text = Digits::new();
        text.push(n);
        self.word(text.as_bytes())
    }

    fn number(&mut self, n: u64) {
        let mut text = Digits::new();
        text.push(n);
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Decimal digits without an allocation: a read over thousands of streams writes an id for each.
struct Digits {
    bytes: [u8; 41],
    len: usize,
}

impl Digits {
    const fn new() -> Self {
        Self {
            bytes: [0; 41],
            len: 0,
        }
    }

    fn push(&mut self, mut n: u64) -> &mut Self {
        let mut reversed = [0u8; 20];
        let mut count = 0;
        loop {
            reversed[count] = b'0' + (n % 10) as u8;
            count += 1;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        for &digit in reversed[..count].iter().rev() {
            self.push_byte(digit);
        }
        self
    }

    fn push_byte(&mut self, byte: u8) -> &mut Self {
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Why a look at the bytes did not give a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end too early; look again when there are at least so many (counted from the cursor's first byte).
    More(usize),
    /// These bytes are not such a reply.
    Malformed(&'static str),
}

pub(super) type Look<T> = Result<T, Stop>;

/// A place in the bytes of a reply.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes lie behind.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// The bytes ahead.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The byte that says what comes next.
    pub(super) fn kind(&self) -> Look<u8> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or(Stop::More(self.at + 1))
    }

    /// The text from behind the kind byte to the end of the line.
    pub(super) fn line(&mut self) -> Look<&'a [u8]> {
        let start = self.at + 1;
        let rest = self.bytes.get(start..).ok_or(Stop::More(start + 1))?;
        let end = memchr::memchr(b'\r', rest).ok_or(Stop::More(self.bytes.len() + 1))?;
        match rest.get(end + 1) {
            Some(b'\n') => {
                self.at = start + end + 2;
                Ok(&rest[..end])
            }
            Some(_) => Err(Stop::Malformed("a line that does not end in CR LF")),
            None => Err(Stop::More(self.bytes.len() + 1)),
        }
    }

    /// The number behind the kind byte. Most of the bytes of a small entry are such heads: no detour over a slice.
    fn number(&mut self) -> Look<i64> {
        let mut at = self.at + 1;
        let negative = self.bytes.get(at) == Some(&b'-');
        at += usize::from(negative);
        let first = at;
        let mut n: i64 = 0;
        loop {
            match self.bytes.get(at) {
                Some(digit @ b'0'..=b'9') if at - first < 18 => {
                    n = n * 10 + i64::from(digit - b'0');
                }
                Some(b'\r') if at > first => break,
                Some(_) => return self.long_number(),
                None => return Err(Stop::More(at + 1)),
            }
            at += 1;
        }
        match self.bytes.get(at + 1) {
            Some(b'\n') => {
                self.at = at + 2;
                Ok(if negative { -n } else { n })
            }
            Some(_) => Err(Stop::Malformed("a number that does not end in CR LF")),
            None => Err(Stop::More(at + 2)),
        }
    }

    /// Numbers of 19 digits, and what is no number at all.
    fn long_number(&mut self) -> Look<i64> {
        std::str::from_utf8(self.line()?)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Stop::Malformed("not a number"))
    }

    /// The head of an array, or of a map taken as an array of keys and values in turn. `None`: null.
    pub(super) fn array(&mut self) -> Look<Option<usize>> {
        let each = match self.kind()? {
            b'*' => 1,
            b'%' => 2,
            b'_' => return self.line().map(|_| None),
            b'$' => return self.bulk_or_null().and_then(null_only),
            _ => return Err(Stop::Malformed("not an array")),
        };
        Ok(self.elements()?.map(|n| n * each))
    }

    /// The number of elements behind the kind byte; `None` for RESP2's null.
    fn elements(&mut self) -> Look<Option<usize>> {
        match self.number()? {
            -1 => Ok(None),
            n if (0..=MAX_ELEMENTS).contains(&n) => Ok(Some(n as usize)),
            _ => Err(Stop::Malformed("an array of an impossible length")),
        }
    }

    /// The head of an array that must be there.
    pub(super) fn array_of(&mut self) -> Look<usize> {
        self.array()?
            .ok_or(Stop::Malformed("null in place of an array"))
    }

    pub(super) fn bulk(&mut self) -> Look<&'a [u8]> {
        self.bulk_or_null()?
            .ok_or(Stop::Malformed("null in place of a string"))
    }

    pub(super) fn bulk_or_null(&mut self) -> Look<Option<&'a [u8]>> {
        let kind = self.kind()?;
        match kind {
            b'$' | b'=' => {}
            b'+' => return self.line().map(Some),
            b'_' => return self.line().map(|_| None),
            _ => return Err(Stop::Malformed("not a string")),
        }
        let start = self.at;
        let length = match self.number()? {
            -1 => return Ok(None),
            n if (0..=MAX_BULK).contains(&n) => n as usize,
            _ => return Err(Stop::Malformed("a string of an impossible length")),
        };
        let text = self.counted(start, length)?;
        match kind {
            b'=' => text
                .get(4..)
                .map(Some)
                .ok_or(Stop::Malformed("a verbatim string without its format")),
            _ => Ok(Some(text)),
        }
    }

    /// The `length` bytes ahead and the CR LF behind them; without all of these the cursor goes back to `start`.
    fn counted(&mut self, start: usize, length: usize) -> Look<&'a [u8]> {
        let end = self.at + length;
        match self.bytes.get(end..end + 2) {
            Some(b"\r\n") => {
                let text = &self.bytes[self.at..end];
                self.at = end + 2;
                Ok(text)
            }
            Some(_) => Err(Stop::Malformed("a string that does not end in CR LF")),
            None => {
                self.at = start;
                Err(Stop::More(end + 2))
            }
        }
    }

    pub(super) fn integer(&mut self) -> Look<i64> {
        match self.kind()? {
            b':' => self.number(),
            _ => Err(Stop::Malformed("not an integer")),
        }
    }

    /// The text of an error reply, if that is what comes next.
    pub(super) fn refusal(&mut self) -> Look<Option<&'a [u8]>> {
        match self.kind()? {
            b'-' => self.line().map(Some),
            b'!' => {
                let start = self.at;
                match self.number()? {
                    n if (0..=MAX_BULK).contains(&n) => self.counted(start, n as usize).map(Some),
                    _ => Err(Stop::Malformed("an error of an impossible length")),
                }
            }
            _ => Ok(None),
        }
    }

    /// Passes over one whole value, however deep.
    pub(super) fn skip(&mut self) -> Look<()> {
        let mut left = 1usize;
        while left > 0 {
            left -= 1;
            match self.kind()? {
                b'$' | b'=' => {
                    self.bulk_or_null()?;
                }
                b'*' | b'~' | b'>' => left += self.elements()?.unwrap_or(0),
                b'%' => left += 2 * self.elements()?.unwrap_or(0),
                b'!' => {
                    self.refusal()?;
                }
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                    self.line()?;
                }
                _ => return Err(Stop::Malformed("a byte that begins no reply")),
            }
        }
        Ok(())
    }
}

fn null_only(text: Option<&[u8]>) -> Look<Option<usize>> {
    match text {
        None => Ok(None),
        Some(_) => Err(Stop::Malformed("a string in place of an array")),
    }
}

/// The elements of an array.
pub(super) fn each<'a, T>(
    cursor: &mut Cursor<'a>,
    mut one: impl FnMut(&mut Cursor<'a>) -> Look<T>,
) -> Look<Vec<T>> {
    (0..cursor.array_of()?).map(|_| one(cursor)).collect()
}
