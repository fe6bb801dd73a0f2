//! Bytes that are read from front to back, never beyond their end.

/// A place in some bytes. Errors are the reason for [`Damaged`](super::CheckpointError::Damaged).
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor at a place that the file itself names.
    pub(super) fn at(bytes: &'a [u8], place: u64) -> Result<Self, String> {
        let at = usize::try_from(place).ok().filter(|at| *at <= bytes.len());
        let at = at.ok_or_else(|| format!("it points to byte {place}, but has {}", bytes.len()))?;
        Ok(Self { bytes, at })
    }

    pub(super) fn place(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next bytes, as many as the file itself says.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken =
            taken.ok_or_else(|| format!("it claims {count} bytes at byte {}, but {} follow", self.at, self.left()))?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| format!("it ends at byte {}", self.bytes.len()))
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text of so many bytes.
    pub(super) fn text(&mut self, count: u64) -> Result<&'a str, String> {
        let at = self.at;
        std::str::from_utf8(self.take(count)?).map_err(|_| format!("the text at byte {at} is not UTF-8"))
    }

    /// Text up to the end of the line, which is skipped.
    pub(super) fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("a line does not end")?;
        let line = self.text(end as u64)?;
        self.at += 1;
        Ok(line)
    }
}
