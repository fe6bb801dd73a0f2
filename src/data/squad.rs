//! Questions about texts, from SQuAD's JSON files.

use std::collections::HashSet;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::DataError;
use super::json::kind;
use super::text::read_bytes;

/// A question about a text, and the answers that are accepted: pieces of that text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionExample {
    /// The question's name in its file.
    pub id: String,
    /// The question.
    pub question: String,
    /// The text that holds the answer.
    pub context: String,
    /// The accepted answers; none where the text does not hold one (SQuAD 2.0), or where it is not known.
    pub answers: Vec<ContextAnswer>,
}

/// A piece of a context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextAnswer {
    /// Its words.
    pub text: String,
    /// The byte of the context at which it starts. (SQuAD's files count characters.)
    pub start: usize,
}

impl QuestionExample {
    /// Says whether each answer stands in the context where it says.
    ///
    /// # Errors
    /// [`DataError::BadAnswer`] names the question.
    pub fn check(&self) -> Result<(), DataError> {
        let stands = |answer: &ContextAnswer| {
            !answer.text.is_empty()
                && self.context.get(answer.start..).is_some_and(|rest| rest.starts_with(&answer.text))
        };
        match self.answers.iter().find(|answer| !stands(answer)) {
            None => Ok(()),
            Some(answer) => Err(DataError::BadAnswer {
                path: None,
                id: self.id.clone(),
                answer: answer.text.clone(),
                reason: format!("the context does not hold it at byte {}", answer.start),
            }),
        }
    }
}

/// `null` counts as absent: files of other languages have it for what they leave out.
#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    #[serde(deserialize_with = "text_or_number")]
    id: String,
    question: String,
    #[serde(default)]
    answers: Option<Vec<Answer>>,
    #[serde(default)]
    is_impossible: Option<bool>,
}

/// An id that somebody numbered is as good as one that somebody named.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(id) => Ok(id),
        Value::Number(id) if !id.is_f64() => Ok(id.to_string()),
        other => Err(D::Error::custom(format!("an id is {}; it must be a string", kind(&other)))),
    }
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    answer_start: usize,
}

/// Reads a file in the format of SQuAD 1.1 or 2.0 ([Rajpurkar et al., 2016](https://arxiv.org/abs/1606.05250),
/// [2018](https://arxiv.org/abs/1806.03822)): articles of paragraphs of questions. Every answer is looked up in its context.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::BadLine`] for a file of another form; [`DataError::BadAnswer`] names the question whose
/// answer does not stand where it says, that is impossible and has answers, or whose id came before;
/// [`DataError::Empty`] for a file without questions.
pub fn read_squad(path: impl AsRef<Path>) -> Result<Vec<QuestionExample>, DataError> {
    let path = path.as_ref();
    let bytes = read_bytes(path)?;
    if bytes.trim_ascii().is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let file: File = serde_json::from_slice(&bytes).map_err(|error| {
        let list = bytes.trim_ascii_start().starts_with(b"[");
        let found = if list { "a list where an object with `data` is expected".into() } else { error.to_string() };
        let reason = format!("not SQuAD's JSON (`data`, `paragraphs`, `qas`): {found}");
        DataError::BadLine { path: path.to_owned(), line: error.line() as u64, column: error.column(), reason }
    })?;
    let (mut examples, mut seen) = (Vec::new(), HashSet::new());
    for paragraph in file.data.into_iter().flat_map(|article| article.paragraphs) {
        let Paragraph { context, qas } = paragraph;
        for question in qas {
            let example = example(path, question, &context)?;
            if !seen.insert(example.id.clone()) {
                return Err(bad(path, &example.id, "", "another question has this id"));
            }
            examples.push(example);
        }
    }
    if examples.is_empty() { Err(DataError::Empty { path: path.to_owned() }) } else { Ok(examples) }
}

fn example(path: &Path, question: Question, context: &str) -> Result<QuestionExample, DataError> {
    let Question { id, question, answers, is_impossible } = question;
    let mut found = vec![];
    for Answer { text, answer_start } in answers.unwrap_or_default() {
        if is_impossible == Some(true) {
            return Err(bad(path, &id, &text, "the question says that it is impossible"));
        }
        let start = context.char_indices().map(|(byte, _)| byte).chain([context.len()]).nth(answer_start);
        let start = start.filter(|start| !text.is_empty() && context[*start..].starts_with(&text));
        let start = start.ok_or_else(|| bad(path, &id, &text, &elsewhere(context, &text, answer_start)))?;
        found.push(ContextAnswer { text, start });
    }
    Ok(QuestionExample { id, question, context: context.to_owned(), answers: found })
}

/// Where an answer stands that does not stand where it says.
fn elsewhere(context: &str, answer: &str, start: usize) -> String {
    let found = context.find(answer).filter(|_| !answer.is_empty());
    let found = found.map(|byte| format!(", but at character {}", context[..byte].chars().count()));
    format!("the context does not hold it at character {start}{}", found.unwrap_or_default())
}

fn bad(path: &Path, id: &str, answer: &str, reason: &str) -> DataError {
    DataError::BadAnswer { path: Some(path.into()), id: id.into(), answer: answer.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(questions: &str) -> Result<Vec<QuestionExample>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("squad.json");
        let content =
            format!(r#"{{"data": [{{"paragraphs": [{{"context": "Été in Paris", "qas": [{questions}]}}]}}]}}"#);
        std::fs::write(&path, content).unwrap();
        read_squad(path)
    }

    #[test]
    fn characters_become_bytes() {
        let answers = r#"[{"text": "Paris", "answer_start": 7}, {"text": "in Paris", "answer_start": 4}]"#;
        let read = read(&format!(r#"{{"id": "q", "question": "where?", "answers": {answers}}}"#)).unwrap();
        let starts: Vec<usize> = read[0].answers.iter().map(|answer| answer.start).collect();
        assert_eq!(starts, [9, 6]);
        assert_eq!(&read[0].context[9..], "Paris");
        assert_eq!(read[0].check().map_err(|error| error.to_string()), Ok(()));
        let moved = ContextAnswer { start: 8, ..read[0].answers[0].clone() };
        let moved = QuestionExample { answers: vec![moved], ..read[0].clone() };
        assert!(matches!(moved.check(), Err(DataError::BadAnswer { .. })));
    }

    #[test]
    fn questions_without_an_answer_are_read() {
        let impossible = r#"{"id": "a", "question": "who?", "answers": [], "is_impossible": true}"#;
        let unknown = r#"{"id": 7, "question": "who?", "answers": null, "is_impossible": null}"#;
        let read = read(&format!("{impossible}, {unknown}")).unwrap();
        assert!(read.iter().all(|example| example.answers.is_empty()));
        assert_eq!(read[1].id, "7");
    }

    #[test]
    fn an_answer_that_does_not_stand_there_names_its_question() {
        let question = |extra: &str, start: usize, text: &str| {
            format!(
                r#"{{"id": "q7", "question": "?", {extra} "answers": [{{"text": "{text}", "answer_start": {start}}}]}}"#
            )
        };
        let fine = question("", 7, "Paris");
        let cases = [
            question("", 8, "Paris"),
            question("", 99, "Paris"),
            question("", 12, ""),
            question(r#""is_impossible": true,"#, 7, "Paris"),
            format!("{fine}, {fine}"),
        ];
        for case in cases {
            match read(&case) {
                Err(error @ DataError::BadAnswer { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains("squad.json: question `q7`"), "{text}");
                    assert_eq!(text.contains("character 8, but at character 7"), case.contains("8}"), "{text}");
                }
                other => panic!("{case}: {other:?}"),
            }
        }
        assert!(matches!(read(r#"{"id": 1}"#), Err(DataError::BadLine { line: 1, .. })));
        let null = read(r#"{"id": null, "question": "?"}"#).unwrap_err().to_string();
        assert!(null.contains("an id is null; it must be a string"), "{null}");
        assert!(matches!(read(""), Err(DataError::Empty { .. })));
    }
}
