//! Quotes of separated files.

/// A quote that makes a field other than it looks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadQuote {
    /// The byte of the file.
    pub(super) byte: usize,
    /// The field of its row, counted from 1.
    pub(super) field: usize,
    pub(super) reason: &'static str,
}

/// Checks that a field that begins with a quote ends with one (RFC 4180). A reader that lets others pass joins rows to one,
/// up to the next quote.
pub(super) fn check(bytes: &[u8], separator: u8) -> Result<(), BadQuote> {
    let (mut at, mut field, mut begins) = (0, 1, true);
    while let Some(byte) = bytes.get(at) {
        if begins && *byte == b'"' {
            let never = "a field begins with a quote and has none at its end; double the quotes inside fields, and put the \
                         field in quotes";
            let end = close(bytes, at).ok_or(BadQuote { byte: at, field, reason: never })?;
            if bytes.get(end + 1).is_some_and(|next| ![separator, b'\r', b'\n'].contains(next)) {
                let reason = "text follows the quote at the end of a field; double the quotes inside fields, and put the \
                              field in quotes";
                return Err(BadQuote { byte: end, field, reason });
            }
            at = end;
        }
        let ends_row = matches!(byte, b'\r' | b'\n');
        begins = *byte == separator || ends_row;
        field = if ends_row { 1 } else { field + usize::from(*byte == separator) };
        at += 1;
    }
    Ok(())
}

/// The quote that ends the field whose first quote is at `open`; two quotes stand for one within it.
fn close(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'"')?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(usize, usize)> {
        check(text.as_bytes(), b',').err().map(|bad| (bad.byte, bad.field))
    }

    #[test]
    fn whole_quotes_pass() {
        for text in
            ["", "a,b\n", "\"a\",\"b, c\"\r\n\"\",x", "\"a \"\"b\"\"\nc\",d", "5\" nail,b\n", "\"\"\"\"", "a\n\"b\""]
        {
            assert_eq!(found(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_field_that_does_not_end_with_its_quote_is_found() {
        assert_eq!(found("a,\"b\nc,d\n"), Some((2, 2)));
        assert_eq!(found("x,y\n\"a\" b,c\n"), Some((6, 1)));
        assert_eq!(found("\"a\"\"\n"), Some((0, 1)));
        assert_eq!(found("a,b,\""), Some((4, 3)));
    }
}
