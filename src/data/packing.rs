//! Documents put together into rows of a fixed length.

use std::collections::BTreeSet;

use super::{DataError, TokenRow};

/// Documents that share a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedRow {
    /// In the order in which they stand in the row.
    pub documents: Vec<TokenRow>,
}

impl PackedRow {
    /// How many tokens all documents have together.
    pub fn len(&self) -> usize {
        self.documents.iter().map(TokenRow::len).sum()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts documents together into rows of at most `length` tokens: the longest first, each into the fullest row that has room
/// for it (best fit decreasing, which fills rows of a few hundred tokens with sentences to 99 % and more). Every document
/// that has a token is in exactly one row, whole.
///
/// The rows are a function of the lengths alone: documents within a row, and rows by their first document, have the order
/// of `documents`.
///
/// # Errors
/// [`DataError::DocumentTooLong`] for a document of more than `length` tokens: cut it when it is tokenised.
pub fn pack(documents: Vec<TokenRow>, length: usize) -> Result<Vec<PackedRow>, DataError> {
    let lengths: Vec<usize> = documents.iter().map(TokenRow::len).collect();
    if let Some(index) = lengths.iter().position(|found| *found > length) {
        return Err(DataError::DocumentTooLong { index, found: lengths[index], length });
    }
    let mut documents: Vec<Option<TokenRow>> = documents.into_iter().map(Some).collect();
    let row = |members: Vec<usize>| PackedRow {
        documents: members.into_iter().filter_map(|index| documents[index].take()).collect(),
    };
    Ok(best_fit(&lengths, length).into_iter().map(row).collect())
}

/// Which documents share a row.
fn best_fit(lengths: &[usize], length: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|index| lengths[*index] > 0).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(lengths[*index]), *index));
    let mut rows: Vec<Vec<usize>> = vec![];
    // Rows by what is left of them.
    let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
    for index in order {
        let found = open.range((lengths[index], 0)..).next().copied();
        let (left, row) = found.unwrap_or((length, rows.len()));
        match found {
            Some(entry) => {
                open.remove(&entry);
                rows[row].push(index);
            }
            None => rows.push(vec![index]),
        }
        if left > lengths[index] {
            open.insert((left - lengths[index], row));
        }
    }
    rows.iter_mut().for_each(|row| row.sort_unstable());
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_document_is_in_one_row_and_no_row_is_too_long(lengths in prop::collection::vec(0_usize..=40, 0..300)) {
            let rows = best_fit(&lengths, 40);
            let mut packed: Vec<usize> = rows.iter().flatten().copied().collect();
            packed.sort_unstable();
            prop_assert_eq!(packed, (0..lengths.len()).filter(|index| lengths[*index] > 0).collect::<Vec<_>>());
            let sum = |row: &Vec<usize>| row.iter().map(|index| lengths[*index]).sum::<usize>();
            prop_assert!(rows.iter().all(|row| sum(row) <= 40));
            // Two rows that are half empty would have been one.
            prop_assert!(rows.iter().filter(|row| sum(row) <= 20).count() <= 1);
        }
    }

    #[test]
    fn a_document_goes_where_it_leaves_least_room() {
        assert_eq!(best_fit(&[3, 6, 5, 2, 4], 10), [vec![0, 2, 3], vec![1, 4]]);
        assert_eq!(best_fit(&[7, 8, 2, 3], 10), [vec![0, 3], vec![1, 2]]);
    }

    #[test]
    fn documents_keep_their_tokens_and_their_order() {
        let row = |ids: &[u32]| TokenRow { ids: ids.to_vec(), ..TokenRow::default() };
        let rows = pack(vec![row(&[1, 2]), row(&[]), row(&[3, 4, 5]), row(&[6])], 4).expect("short documents");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].documents, [row(&[1, 2])]);
        assert_eq!((rows[1].documents.clone(), rows[1].len()), (vec![row(&[3, 4, 5]), row(&[6])], 4));
        let error = pack(vec![row(&[1]), row(&[1, 2, 3])], 2).expect_err("too long");
        assert!(matches!(error, DataError::DocumentTooLong { index: 1, found: 3, length: 2 }));
    }
}
