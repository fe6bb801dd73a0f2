//! Rows of different length, padded to one block.

use super::TokenRow;

/// Token rows padded on the right to the longest of them; each list is `rows * seq` long, row after row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaddedRows {
    /// Token ids; padding holds the pad id.
    pub ids: Vec<i64>,
    /// Segment ids; padding holds 0.
    pub type_ids: Vec<i64>,
    /// `true` for a token, `false` for padding.
    pub mask: Vec<bool>,
    /// Which document of its row each token belongs to, counted from 1, and 0 for padding; `None` where a row is one text.
    pub documents: Option<Vec<i64>>,
    /// How many rows there are.
    pub rows: usize,
    /// How many tokens each row has, padding included.
    pub seq: usize,
}

/// Pads rows to the longest of them, as `DataCollatorWithPadding` of Transformers does.
pub fn pad_rows(rows: &[&TokenRow], pad_id: u32) -> PaddedRows {
    let seq = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    let cells = rows.len() * seq;
    let mut padded = PaddedRows {
        ids: Vec::with_capacity(cells),
        type_ids: Vec::with_capacity(cells),
        mask: Vec::with_capacity(cells),
        documents: None,
        rows: rows.len(),
        seq,
    };
    for (index, row) in rows.iter().enumerate() {
        let end = (index + 1) * seq;
        padded.mask.extend(row.ids.iter().map(|_| true));
        padded.mask.resize(end, false);
        padded.ids.extend(row.ids.iter().copied().map(i64::from));
        padded.ids.resize(end, i64::from(pad_id));
        padded.type_ids.extend(row.type_ids.iter().take(seq).copied().map(i64::from));
        padded.type_ids.resize(end, 0);
    }
    padded
}

/// Pads rows that hold documents one after the other.
pub fn pad_documents(rows: &[&[TokenRow]], pad_id: u32) -> PaddedRows {
    let joined: Vec<TokenRow> = rows.iter().map(|row| join(row)).collect();
    let padded = pad_rows(&joined.iter().collect::<Vec<_>>(), pad_id);
    let mut documents = Vec::with_capacity(padded.ids.len());
    for (index, row) in rows.iter().enumerate() {
        let numbered = row.iter().zip(1..);
        documents.extend(numbered.flat_map(|(document, number)| std::iter::repeat_n(number, document.len())));
        documents.resize((index + 1) * padded.seq, 0);
    }
    PaddedRows { documents: Some(documents), ..padded }
}

/// The ids and segment ids of documents, one after the other.
fn join(documents: &[TokenRow]) -> TokenRow {
    let mut joined = TokenRow::default();
    for document in documents {
        joined.ids.extend(&document.ids);
        joined.type_ids.extend(document.type_ids.iter().take(document.len()));
        joined.type_ids.resize(joined.ids.len(), 0);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_to_the_longest() {
        let row = |ids: &[u32]| TokenRow { ids: ids.to_vec(), type_ids: vec![1; ids.len()], ..TokenRow::default() };
        let (a, b) = (row(&[5, 6, 7]), row(&[8]));
        let padded = pad_rows(&[&a, &b], 9);
        assert_eq!((padded.rows, padded.seq), (2, 3));
        assert_eq!(padded.ids, [5, 6, 7, 8, 9, 9]);
        assert_eq!(padded.type_ids, [1, 1, 1, 1, 0, 0]);
        assert_eq!(padded.mask, [true, true, true, true, false, false]);
        assert_eq!(padded.documents, None);
        assert_eq!(pad_rows(&[], 0), PaddedRows::default());
    }

    #[test]
    fn documents_stand_in_a_row_and_are_numbered() {
        let row = |ids: &[u32], type_ids: &[u32]| TokenRow {
            ids: ids.to_vec(),
            type_ids: type_ids.to_vec(),
            ..TokenRow::default()
        };
        let (first, second) = ([row(&[5, 6], &[]), row(&[7], &[1])], [row(&[8], &[0])]);
        let padded = pad_documents(&[&first, &second], 9);
        assert_eq!((padded.rows, padded.seq), (2, 3));
        assert_eq!(padded.ids, [5, 6, 7, 8, 9, 9]);
        assert_eq!(padded.type_ids, [0, 0, 1, 0, 0, 0]);
        assert_eq!(padded.documents, Some(vec![1, 1, 2, 1, 0, 0]));
    }
}
