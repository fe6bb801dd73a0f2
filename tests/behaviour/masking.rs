//! Which tokens masked language modelling hides, and that it is a function of seed, epoch and example.

use rekindle::data::TokenRow;
use rekindle::objective::{Batch, Draws, MaskedLanguage, Masking, Objective};

use super::support::*;

/// A masked batch on the host: the ids of every row, and for every row the chosen places with what stood there.
struct Masked {
    ids: Vec<Vec<u32>>,
    chosen: Vec<Vec<(usize, u32)>>,
}

fn mask(masking: Masking, rows: &[TokenRow], seed: u64, epoch: u64, indices: &[usize]) -> Masked {
    let objective = MaskedLanguage::new(&tokenizer(), masking).unwrap();
    let chosen: Vec<&TokenRow> = indices.iter().map(|index| &rows[*index]).collect();
    let Batch { input, targets } = objective.batch(&chosen, &Draws::new(seed, epoch, indices), &device()).unwrap();
    let seq = input.ids.dims()[1];
    let ids: Vec<u32> = input.ids.into_data().iter::<i64>().map(|id| id as u32).collect();
    let places = targets.at.into_data().iter::<i64>().map(|at| at as usize).collect::<Vec<_>>();
    let tokens = targets.tokens.into_data().iter::<i64>().map(|id| id as u32).collect::<Vec<_>>();
    let mut masked =
        Masked { ids: ids.chunks(seq).map(<[u32]>::to_vec).collect(), chosen: vec![vec![]; indices.len()] };
    for (at, token) in places.into_iter().zip(tokens) {
        masked.chosen[at / seq].push((at % seq, token));
    }
    for (row, original) in chosen.iter().enumerate() {
        masked.ids[row].truncate(original.len());
        for (place, id) in original.ids.iter().enumerate() {
            let hit = masked.chosen[row].iter().find(|(at, _)| *at == place);
            match hit {
                Some((_, token)) => assert_eq!(token, id),
                None => assert_eq!(masked.ids[row][place], *id, "an unchosen token changed"),
            }
        }
    }
    masked
}

/// Long rows of ordinary tokens in words of 1 to 3 of them, so that no row is without a choice.
fn long_rows(count: usize) -> Vec<TokenRow> {
    let vocabulary = tokenizer().vocab_size() as u32;
    let row = |index: usize| {
        let words: Vec<u32> = (0..30).flat_map(|word| vec![word; 1 + (index + word as usize) % 3]).collect();
        let inner = words.iter().enumerate().map(|(place, _)| 5 + ((index * 7 + place * 13) as u32) % (vocabulary - 5));
        let ids: Vec<u32> = [2].into_iter().chain(inner).chain([3]).collect();
        let special = (0..ids.len()).map(|place| place == 0 || place == ids.len() - 1).collect();
        let word_ids = [None].into_iter().chain(words.into_iter().map(Some)).chain([None]).collect();
        TokenRow { type_ids: vec![0; ids.len()], ids, special, word_ids, truncated: false }
    };
    (0..count).map(row).collect()
}

#[test]
fn fifteen_in_a_hundred_are_chosen_and_split_80_10_10() {
    let rows = long_rows(600);
    let indices: Vec<usize> = (0..600).collect();
    let masked = mask(Masking::default(), &rows, 3, 0, &indices);
    let places: usize = rows.iter().map(|row| row.len() - 2).sum();
    let (mut chosen, mut hidden, mut kept) = (0, 0, 0);
    for (row, choices) in masked.chosen.iter().enumerate() {
        for (place, original) in choices {
            chosen += 1;
            hidden += usize::from(masked.ids[row][*place] == 4);
            kept += usize::from(masked.ids[row][*place] == *original);
            assert!(*place != 0 && *place != rows[row].len() - 1);
        }
    }
    // Three deviations of a count of some 5,400 are about 0.005 of 0.15, and 0.016 of 0.8.
    let share = |count: usize, of: usize| count as f64 / of as f64;
    assert!((share(chosen, places) - 0.15).abs() < 0.005, "{chosen} of {places}");
    assert!((share(hidden, chosen) - 0.8).abs() < 0.02, "{hidden} of {chosen}");
    assert!((share(kept, chosen) - 0.1).abs() < 0.015, "{kept} of {chosen}");
}

#[test]
fn special_tokens_are_neither_chosen_nor_put_in() {
    let texts = ["my ☃ router [SEP] drops", "[MASK] arrives ☃ ☃ ☃", "the [CLS] parcel [PAD] fails", "my line"];
    let rows = tokenizer().encode(&texts, 24).unwrap().rows;
    assert!(rows[0].ids.contains(&1) && rows[0].ids[1..rows[0].len() - 1].contains(&3));
    for seed in 0..60 {
        let masked = mask(Masking { probability: 0.9, whole_word: seed % 2 == 0 }, &rows, seed, 0, &[0, 1, 2, 3]);
        for (row, choices) in masked.chosen.iter().enumerate() {
            assert!(!choices.is_empty());
            for (place, original) in choices {
                assert!(*original >= 5, "special token {original} was chosen");
                let new = masked.ids[row][*place];
                assert!(new >= 4, "special token {new} was put in");
            }
        }
    }
}

#[test]
fn words_are_masked_whole() {
    let rows = long_rows(100);
    let indices: Vec<usize> = (0..100).collect();
    let masking = Masking { whole_word: true, ..Masking::default() };
    let masked = mask(masking, &rows, 1, 0, &indices);
    let mut chosen_words = 0;
    for (row, choices) in rows.iter().zip(&masked.chosen) {
        for word in 0..30 {
            let places = (0..row.len()).filter(|place| row.word_ids[*place] == Some(word));
            let chosen = places.clone().filter(|place| choices.iter().any(|(at, _)| at == place)).count();
            assert!(chosen == 0 || chosen == places.count(), "a word is chosen in part");
            chosen_words += usize::from(chosen > 0);
        }
    }
    assert!((chosen_words as f64 / 3000.0 - 0.15).abs() < 0.025, "{chosen_words}");
    let parts = mask(Masking::default(), &rows, 1, 0, &indices);
    let split = rows.iter().zip(&parts.chosen).any(|(row, choices)| {
        choices.iter().any(|(at, _)| {
            let same = |place: &usize| row.word_ids[*place] == row.word_ids[*at];
            (0..row.len()).filter(same).any(|place| !choices.iter().any(|(other, _)| *other == place))
        })
    });
    assert!(split, "without whole words some are chosen in part");
}

#[test]
fn an_example_is_masked_the_same_in_every_batch_and_anew_in_every_epoch() {
    let rows = token_rows(40);
    let alone = |epoch, seed| mask(Masking::default(), &rows, seed, epoch, &[17]);
    let batch = mask(Masking::default(), &rows, 9, 2, &[3, 39, 17, 8]);
    let one = alone(2, 9);
    assert_eq!((&one.ids[0], &one.chosen[0]), (&batch.ids[2], &batch.chosen[2]));
    let differs = |other: &dyn Fn(usize) -> Masked| {
        let first = |index| mask(Masking::default(), &rows, 9, 2, &[index]);
        (0..40).filter(|index| other(*index).chosen != first(*index).chosen).count()
    };
    assert_eq!(differs(&|index| mask(Masking::default(), &rows, 9, 2, &[index])), 0);
    assert!(differs(&|index| mask(Masking::default(), &rows, 9, 3, &[index])) > 15);
    assert!(differs(&|index| mask(Masking::default(), &rows, 8, 2, &[index])) > 15);
}

#[test]
fn probabilities_that_are_none_and_rows_without_words_are_errors() {
    for probability in [0.0, -0.1, 1.1, f64::NAN] {
        let error = MaskedLanguage::new(&tokenizer(), Masking { probability, whole_word: false }).unwrap_err();
        assert!(matches!(error, rekindle::data::DataError::BadMasking { .. }));
    }
    let rows = tokenizer().encode(&["", "☃"], 24).unwrap().rows;
    let error = masking().batch(&rows.iter().collect::<Vec<_>>(), &Draws::new(0, 0, &[0, 1]), &device()).unwrap_err();
    assert!(matches!(error, rekindle::data::DataError::NothingToMask { rows: 2 }), "{error}");
}
