//! A part of an entry that a key or a header is made from: a field, or what a JSON pointer finds in one.

use std::borrow::Cow;

use crate::config;
use crate::entry::Entry;

use super::json;
use super::pointer::{InvalidPointer, Pointer};
use super::unroutable::Unroutable;

#[derive(Clone, Debug)]
pub(super) struct Source {
    field: String,
    pointer: Option<(String, Pointer)>,
    optional: bool,
}

impl Source {
    pub(super) fn compile(source: &config::Source) -> Result<Self, InvalidPointer> {
        let pointer = match &source.pointer {
            Some(text) => Some((text.clone(), Pointer::parse(text)?)),
            None => None,
        };
        Ok(Self {
            field: source.field.clone(),
            pointer,
            optional: source.optional,
        })
    }

    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// The bytes of the field, or the text of what is pointed at. `None` where it is absent and may be.
    pub(super) fn text<'e>(&self, entry: &'e Entry) -> Result<Option<Cow<'e, [u8]>>, Unroutable> {
        let Some(bytes) = entry.field(self.field.as_bytes()) else {
            return self.absent();
        };
        let Some((_, pointer)) = &self.pointer else {
            return Ok(Some(Cow::Borrowed(bytes)));
        };
        let not_json = |error| Unroutable::not_json(&self.field, &error);
        let text = match pointer.find(bytes).map_err(not_json)? {
            Some(raw) => json::text_of(raw).map_err(not_json)?,
            None => None,
        };
        if text.is_none() {
            self.absent()
        } else {
            Ok(text)
        }
    }

    /// The JSON there, not yet known to be any. `None` where it is absent and may be.
    pub(super) fn json<'e>(&self, entry: &'e Entry) -> Result<Option<&'e [u8]>, Unroutable> {
        let Some(bytes) = entry.field(self.field.as_bytes()) else {
            return self.absent();
        };
        let Some((_, pointer)) = &self.pointer else {
            return Ok(Some(bytes));
        };
        let found = pointer.find(bytes);
        match found.map_err(|error| Unroutable::not_json(&self.field, &error))? {
            Some(raw) if raw.get() != "null" => Ok(Some(raw.get().as_bytes())),
            _ => self.absent(),
        }
    }

    fn absent<T>(&self) -> Result<Option<T>, Unroutable> {
        if self.optional {
            return Ok(None);
        }
        Err(Unroutable::missing(match &self.pointer {
            None => format!("field `{}` is absent", self.field),
            Some((pointer, _)) => format!("`{pointer}` in field `{}` is absent", self.field),
        }))
    }
}
