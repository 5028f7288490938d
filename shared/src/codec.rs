//! Reading and writing bytes: a reader that cannot slice out of range, and its counterpart.
//!
//! Integers are big-endian. A decoder ends with [`Reader::finish`] or [`Reader::finish_padded`], so that nothing trails, but for
//! the payloads of the handshake, to which a later version may add.

use alloc::vec::Vec;

use crate::error::InvalidMessage;

/// A cursor over received bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], InvalidMessage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(InvalidMessage::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidMessage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(InvalidMessage::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, InvalidMessage> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, InvalidMessage> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, InvalidMessage> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, InvalidMessage> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A byte that says how many bytes of UTF-8 follow, or two such bytes where `max` does not fit one.
    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str, InvalidMessage> {
        let len = if max > 255 { usize::from(self.u16()?) } else { usize::from(self.u8()?) };
        if len > max {
            return Err(InvalidMessage::TooLong);
        }
        core::str::from_utf8(self.take(len)?).map_err(|_| InvalidMessage::NotUtf8)
    }

    /// Four bytes that say how many follow.
    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'a [u8], InvalidMessage> {
        let len = self.u32()? as usize;
        if len > max {
            return Err(InvalidMessage::TooLong);
        }
        self.take(len)
    }

    /// 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, InvalidMessage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(InvalidMessage::UnknownValue),
        }
    }

    /// Counts that stay so far below the end of their range that some of them can be added.
    pub(crate) fn counts<const N: usize>(&mut self) -> Result<[u64; N], InvalidMessage> {
        let mut counts = [0; N];
        for count in &mut counts {
            *count = Some(self.u64()?).filter(|count| *count <= u64::MAX / 4).ok_or(InvalidMessage::TooLong)?;
        }
        Ok(counts)
    }

    /// What lies between this place and a later one of the same bytes.
    pub(crate) fn until(&self, later: &Self) -> &'a [u8] {
        self.0.get(..self.0.len().saturating_sub(later.0.len())).unwrap_or_default()
    }

    /// A byte in which no bit is in use.
    pub(crate) fn reserved(&mut self) -> Result<(), InvalidMessage> {
        if self.u8()? == 0 { Ok(()) } else { Err(InvalidMessage::ReservedBits) }
    }

    pub(crate) fn finish(self) -> Result<(), InvalidMessage> {
        if self.0.is_empty() { Ok(()) } else { Err(InvalidMessage::Trailing) }
    }

    /// Nothing but zeros may follow.
    pub(crate) fn finish_padded(self) -> Result<(), InvalidMessage> {
        if self.0.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(InvalidMessage::Padding) }
    }
}

/// What [`Reader::bytes`] reads. The caller has checked the length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What [`Reader::counts`] reads.
pub(crate) fn put_counts(out: &mut Vec<u8>, counts: &[u64]) {
    counts.iter().for_each(|count| out.extend_from_slice(&count.to_be_bytes()));
}

/// What [`Reader::text`] reads. The caller has checked the length; a longer text is cut at a character.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str, max: usize) {
    let text = &text.as_bytes().get(..text.floor_char_boundary(max)).unwrap_or(text.as_bytes());
    if max > 255 {
        out.extend_from_slice(&u16::try_from(text.len()).expect("max is a u16").to_be_bytes());
    } else {
        out.push(u8::try_from(text.len()).expect("max is a u8"));
    }
    out.extend_from_slice(text);
}
