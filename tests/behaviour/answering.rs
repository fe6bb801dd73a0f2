//! Questions about texts: which tokens are the answer, what windows cost, and that a run learns to find it.

use rekindle::Error;
use rekindle::Model;
use rekindle::backbone::Bert;
use rekindle::checkpoint::{CheckpointError, load_tagger, save_reader};
use rekindle::data::{ContextAnswer, DataError, QuestionExample, Windows};
use rekindle::head::SpanHead;
use rekindle::metric::AnswerScores;
use rekindle::objective::{Objective, QuestionAnswering, SpanRow};
use rekindle::params::{Freeze, Rates};
use rekindle::predict::{Answered, Answerer};
use rekindle::train::{Data, Fit, fit};

use super::support::*;

const WINDOWS: Windows = Windows { max_length: 24, stride: 4, max_question: 6 };

/// The second word of a text is what fails, drops or waits.
fn question(index: usize) -> QuestionExample {
    let (context, _) = text(index);
    let answer = context.split(' ').nth(1).unwrap().to_string();
    let answers = vec![ContextAnswer { start: 3, text: answer }];
    QuestionExample { id: index.to_string(), question: "my refund".into(), context, answers }
}

fn questions(range: std::ops::Range<usize>) -> Vec<QuestionExample> {
    range.map(question).collect()
}

fn task() -> QuestionAnswering {
    QuestionAnswering::new(tokenizer(), WINDOWS).unwrap()
}

fn answer(model: &Model<Bert, SpanHead>, questions: &[QuestionExample]) -> Vec<Answered> {
    let pairs: Vec<_> = questions.iter().map(|example| (&example.question, &example.context)).collect();
    Answerer::new(model, task()).answer(&pairs).unwrap()
}

/// The bytes of the context that a row's answer stands for.
fn bytes(row: &SpanRow) -> Option<(usize, usize)> {
    let (first, last) = row.span;
    Some((row.window.offsets[first]?.0, row.window.offsets[last]?.1))
}

#[test]
fn the_answer_is_where_its_bytes_are() {
    let example = question(5);
    let rows = task().encode(std::slice::from_ref(&example)).unwrap();
    let (start, length) = (example.answers[0].start, example.answers[0].text.len());
    assert!(rows.rows[0].holds);
    assert_eq!(bytes(&rows.rows[0]), Some((start, start + length)));
    assert_eq!((rows.answers_lost, rows.questions_cut, rows.split), (0, 0, 0));
}

#[test]
fn windows_count_what_they_lose() {
    let mut long = question(3);
    let parts: Vec<String> = (0..6).map(|index| text(index).0).collect();
    long.context = parts.join(" ");
    let start = long.context.rfind("my").unwrap();
    long.answers = vec![ContextAnswer { start, text: "my".into() }];
    let mut lost = long.clone();
    lost.answers = vec![ContextAnswer { start: 0, text: long.context.clone() }];
    let impossible = QuestionExample { answers: vec![], ..long.clone() };
    let task = task();
    let found = task.encode(&[long.clone(), lost, impossible]).unwrap();
    assert_eq!((found.answers_lost, found.split), (1, 3));
    let holding: Vec<&SpanRow> = found.rows.iter().filter(|row| row.holds).collect();
    assert!(!holding.is_empty() && holding.iter().all(|row| bytes(row) == Some((start, start + 2))));
    let others = found.rows.iter().filter(|row| !row.holds);
    assert!(others.clone().count() > 4 && others.into_iter().all(|row| row.span == (0, 0)));
    assert_ne!(task.fingerprint(holding[0]), task.fingerprint(&SpanRow { span: (0, 0), ..holding[0].clone() }));

    long.answers[0].start += 1;
    assert!(matches!(task.encode(&[long]), Err(DataError::BadAnswer { .. })));
    let windows = Windows { stride: 20, ..WINDOWS };
    assert!(matches!(QuestionAnswering::new(tokenizer(), windows), Err(DataError::BadWindows { .. })));
}

#[test]
fn a_run_learns_to_find_answers() {
    let (task, held_out) = (task(), questions(64..80));
    let (train, validation) = (task.encode(&questions(0..64)).unwrap(), task.encode(&held_out).unwrap());
    let mut model = Model { backbone: classifier(2, 0.0).backbone, head: SpanHead::new(32, 1, &device()) };
    let exact = |model: &_| {
        let answered = answer(model, &held_out);
        let found: Vec<&str> = answered.iter().map(Answered::text).collect();
        let accepted: Vec<Vec<&str>> = held_out.iter().map(|example| vec![example.answers[0].text.as_str()]).collect();
        AnswerScores::new(&found, &accepted).unwrap().exact_match()
    };
    let before = exact(&model);
    let recipe = Fit { epochs: 12, batch_size: 8, rates: Rates::new(3e-3), ..Fit::default() };
    let data = Data { train: &train.rows, validation: &validation.rows };
    fit(&mut model, &task, data, &Freeze::Nothing, &recipe, &mut []).unwrap();
    assert!(before < 0.5 && exact(&model) > 0.9, "{} was {before}", exact(&model));

    let folder = temporary();
    save_reader(folder.path().join("saved"), &model, &config(2, 0.0), &task, &Freeze::Nothing).unwrap();
    let loaded = Answerer::load(folder.path().join("saved"), &device()).unwrap();
    let pairs: Vec<_> = held_out.iter().map(|example| (&example.question, &example.context)).collect();
    let again = loaded.answer(&pairs).unwrap();
    let texts = |answered: &[Answered]| answered.iter().map(|one| one.text().to_string()).collect::<Vec<_>>();
    assert_eq!(texts(&again), texts(&answer(&model, &held_out)));
    let other = load_tagger::<Bert>(folder.path().join("saved"), &device());
    let Err(Error::Checkpoint(CheckpointError::UnsupportedConfig { field, .. })) = other else { panic!("{other:?}") };
    assert_eq!(field, "architectures");
}

#[test]
fn answers_keep_to_the_context_and_the_limits() {
    let model = Model { backbone: classifier(1, 0.0).backbone, head: SpanHead::new(32, 1, &device()) };
    let long: Vec<String> = (0..8).map(|index| text(index).0).collect();
    let (question, context) = ("my refund", long.join(" "));
    let ask = |answerer: Answerer<Bert>| answerer.answer(&[(question, &context)]).unwrap().remove(0);
    let fresh = || Answerer::new(&model, task());
    let answered = ask(fresh());
    assert_eq!(answered.candidates.len(), 20);
    assert!(answered.candidates.is_sorted_by(|a, b| a.score >= b.score));
    assert!(answered.candidates.iter().all(|one| context[one.start..one.end] == one.text && !one.text.is_empty()));
    assert!((answered.candidates.iter().map(|one| one.probability).sum::<f64>() - 1.0).abs() < 1e-9);
    let mut pieces: Vec<_> = answered.candidates.iter().map(|one| (one.start, one.end)).collect();
    pieces.sort_unstable();
    pieces.dedup();
    assert_eq!(pieces.len(), 20, "each piece once, whatever windows hold it");
    let short = ask(fresh().with_max_answer(1).with_candidates(3));
    assert!(short.candidates.len() <= 3 && short.candidates.iter().all(|one| !one.text.contains(' ')));
    let endless = ask(fresh().with_max_answer(usize::MAX));
    assert!(endless.candidates[0].score >= answered.candidates[0].score);
    let best = answered.candidates[0].score;
    let margin = answered.null_score - best;
    assert!(ask(fresh().with_no_answer(margin - 1e-3)).answer.is_none());
    let kept = ask(fresh().with_no_answer(margin + 1e-3));
    assert_eq!(kept.answer.as_ref(), kept.candidates.first());
    assert!(kept.candidates.iter().map(|one| one.probability).sum::<f64>() < 1.0, "no answer has its share");
    let empty = fresh().answer(&[(question, "")]).unwrap().remove(0);
    assert_eq!((empty.answer, empty.candidates.len()), (None, 0));
}
