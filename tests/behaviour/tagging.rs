//! Words with tags: which token has the tag, what is cut, and that a run learns them.

use burn::tensor::{Device, Int, Tensor};
use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::checkpoint::save_tagger;
use rekindle::data::{DataError, TaggedExample};
use rekindle::head::{IGNORED, TokenClassifier};
use rekindle::metric::{EntityScheme, EntityScores};
use rekindle::objective::{Answer, Batch, Draws, Objective, TokenTagging};
use rekindle::params::{Freeze, Rates};
use rekindle::predict::Tagger;
use rekindle::train::{Data, Fit, evaluate, fit};

use super::support::*;

fn sentence(index: usize) -> TaggedExample {
    let (text, _) = text(index);
    let tokens: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let tags = (0..tokens.len()).map(|place| if place == 1 { "B-THING" } else { "O" }.to_string()).collect();
    TaggedExample { tokens, tags }
}

fn sentences(count: usize) -> Vec<TaggedExample> {
    (0..count).map(sentence).collect()
}

fn tagging(max_length: usize) -> TokenTagging {
    let labels = TokenTagging::labels_of(&sentences(4)).unwrap();
    assert_eq!(labels.names(), ["O", "B-THING"]);
    TokenTagging::new(tokenizer(), labels, max_length).unwrap()
}

#[test]
fn the_first_token_of_a_word_has_its_tag() {
    let task = tagging(32);
    let unseen = TaggedExample {
        tokens: ["my", "storerefund", "waits"].map(String::from).to_vec(),
        tags: ["O", "B-THING", "O"].map(String::from).to_vec(),
    };
    let row = task.encode(&[unseen]).unwrap().remove(0);
    let words: Vec<u32> = row.row.word_ids.iter().flatten().copied().collect();
    assert!(words.iter().filter(|word| **word == 1).count() > 1, "the word should be several tokens: {words:?}");
    let mut expected = vec![IGNORED; row.row.len()];
    for (word, label) in [(0, 0), (1, 1), (2, 0)] {
        expected[row.row.word_ids.iter().position(|id| *id == Some(word)).unwrap()] = label;
    }
    assert_eq!(row.labels, expected);
    assert_eq!((row.lost_words(), row.labels[0], *row.labels.last().unwrap()), (0, IGNORED, IGNORED));
    let classes: Vec<usize> = row.labels.iter().map(|label| usize::from(*label == 1)).collect();
    assert_eq!(task.tags(&row, &classes), ["O", "B-THING", "O"]);
}

#[test]
fn what_is_cut_off_is_counted() {
    let task = tagging(4);
    let row = task.encode(&sentences(1)).unwrap().remove(0);
    assert_eq!((row.row.len(), row.words, row.lost_words()), (4, 3, 1));
    assert_eq!(task.is_truncated(&row), Some(true));
    assert_eq!(task.tags(&row, &[0, 0, 1, 0]), ["O", "B-THING", "O"]);
    assert_eq!(task.answer(&row), Answer::Given);
}

#[test]
fn rows_are_padded_with_ignored_labels() {
    let task = tagging(32);
    let rows = task.encode(&sentences(4)).unwrap();
    let chosen: Vec<_> = rows.iter().collect();
    let device: Device = device();
    let Batch { input, targets } = task.batch(&chosen, &Draws::new(1, 0, &[0, 1, 2, 3]), &device).unwrap();
    let padding: Tensor<2, Int> = targets.mask_fill(input.mask, IGNORED);
    assert!(padding.into_data().iter::<i64>().all(|label| label == IGNORED));
    let mut other = rows[0].clone();
    other.labels[1] = 1;
    assert_ne!(task.fingerprint(&rows[0]), task.fingerprint(&other));
    assert_eq!(task.input_fingerprint(&rows[0]), task.input_fingerprint(&other));
}

#[test]
fn tags_that_do_not_fit_are_named() {
    let task = tagging(32);
    let mut wrong = sentences(3);
    wrong[2].tags.pop();
    let words = wrong[2].tokens.len();
    let Err(DataError::TagCount { index, words: found, tags }) = task.encode(&wrong) else { panic!("not refused") };
    assert_eq!((index, found, tags), (2, words, words - 1));
    wrong.truncate(2);
    wrong[1].tags[0] = "B-THIN".into();
    assert!(matches!(task.encode(&wrong), Err(DataError::UnknownLabel { .. })));
}

#[test]
fn a_run_learns_tags() {
    let task = tagging(32);
    let rows = task.encode(&sentences(48)).unwrap();
    let (train, validation) = rows.split_at(32);
    let Model { backbone, .. } = classifier(2, 0.0);
    let head = TokenClassifier::new(32, 2, 1, &device()).with_dropout(0.0);
    let mut model: Model<Bert, TokenClassifier> = Model { backbone, head };
    let before = evaluate(&model, &task, validation, 8, 1).unwrap().summary();
    let recipe = Fit { epochs: 12, batch_size: 8, rates: Rates::new(3e-3), ..Fit::default() };
    fit(&mut model, &task, Data { train, validation }, &Freeze::Nothing, &recipe, &mut []).unwrap();
    let scores = evaluate(&model, &task, validation, 8, 1).unwrap();
    let after = scores.summary();
    assert!(after.loss < before.loss / 2.0, "{} was {}", after.loss, before.loss);
    assert!(after.accuracy.unwrap() > 0.95, "{after:?}");
    let names = |classes: &[usize]| classes.iter().map(|class| task.labels().name(*class).unwrap()).collect::<Vec<_>>();
    let [predicted, actual] = [scores.predicted(), scores.actual()].map(|classes| vec![names(classes)]);
    let entities = EntityScores::new(&predicted, &actual, EntityScheme::Conll).unwrap();
    assert!(entities.micro_average().f1 > 0.9);
}

#[test]
fn a_saved_tagger_tags_words_and_finds_entities() {
    let task = tagging(6);
    let model = Model { backbone: classifier(2, 0.0).backbone, head: TokenClassifier::new(32, 2, 1, &device()) };
    let words: Vec<Vec<String>> = sentences(12).into_iter().map(|sentence| sentence.tokens).collect();
    let tagged = Tagger::new(&model, task.clone()).tag(&words).unwrap();
    let folder = temporary();
    save_tagger(folder.path().join("saved"), &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
    let loaded = Tagger::load(folder.path().join("saved"), &device()).unwrap();
    assert_eq!(loaded.labels(), task.labels());
    assert_eq!(loaded.tag(&words).unwrap(), tagged);
    let alone = loaded.with_batch_size(1).tag(&words).unwrap();
    for (sentence, (found, alone)) in words.iter().zip(tagged.iter().zip(&alone)) {
        assert_eq!(found.words.len(), sentence.len());
        assert_eq!(found.tags(), alone.tags());
        let read = found.words.iter().filter(|word| word.probability.is_some_and(|p| p > 0.0 && p <= 1.0)).count();
        assert_eq!(read < sentence.len(), found.truncated, "words that are not read are cut off");
        for entity in found.entities(EntityScheme::Conll).unwrap() {
            assert_eq!(found.words[entity.entity.start].tag, "B-THING");
            assert!(entity.score > 0.0 && entity.score <= 1.0);
        }
    }
    assert!(tagged.iter().any(|sentence| sentence.truncated) && tagged.iter().any(|sentence| !sentence.truncated));
    let few = Model { head: TokenClassifier::new(32, 3, 1, &device()), ..model };
    assert!(Tagger::new(&few, task).tag(&words).is_err(), "a class without a label");
}
