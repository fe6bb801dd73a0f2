use super::{MetricError, mean};
use std::collections::HashMap;

/// Answers in the text's own words against the accepted ones, as SQuAD's evaluation program compares them ([Rajpurkar et
/// al., 2016](https://arxiv.org/abs/1606.05250)): after [`normalise_answer`], the best over a question's answers.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerScores {
    exact: Vec<f64>,
    f1: Vec<f64>,
}

impl AnswerScores {
    /// One prediction a question and the answers that are accepted; a question without any has none, so that the empty
    /// prediction is right.
    ///
    /// # Errors
    /// [`MetricError::Lengths`] for lists of different length, [`MetricError::Empty`] without questions.
    pub fn new<P: AsRef<str>, A: AsRef<str>>(predicted: &[P], accepted: &[Vec<A>]) -> Result<Self, MetricError> {
        super::error::check_lengths(predicted.len(), accepted.len())?;
        let mut scores = Self { exact: vec![], f1: vec![] };
        for (predicted, accepted) in predicted.iter().zip(accepted) {
            let predicted = normalise_answer(predicted.as_ref());
            let mut accepted: Vec<String> = accepted.iter().map(|answer| normalise_answer(answer.as_ref())).collect();
            if accepted.is_empty() {
                accepted.push(String::new());
            }
            scores.exact.push(if accepted.contains(&predicted) { 1.0 } else { 0.0 });
            scores.f1.push(accepted.iter().map(|answer| overlap(&predicted, answer)).fold(0.0, f64::max));
        }
        Ok(scores)
    }

    /// The share of questions whose prediction equals an accepted answer, 0 to 1.
    pub fn exact_match(&self) -> f64 {
        mean(self.exact.iter().copied())
    }

    /// The mean F1 of words that prediction and answer share, 0 to 1.
    pub fn f1(&self) -> f64 {
        mean(self.f1.iter().copied())
    }

    /// Exact match and F1 of each question, in order.
    pub fn rows(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.exact.iter().copied().zip(self.f1.iter().copied())
    }
}

/// An answer in small letters, without ASCII punctuation, then without the words "a", "an" and "the", with single spaces.
pub fn normalise_answer(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    let (mut without, mut word) = (String::new(), String::new());
    // A word ends at whatever is no letter or digit, so that other scripts' punctuation frees an article too.
    for character in plain.chars().chain([' ']) {
        if character.is_alphanumeric() {
            word.push(character);
            continue;
        }
        without.push_str(if matches!(word.as_str(), "a" | "an" | "the") { " " } else { &word });
        without.push(character);
        word.clear();
    }
    // Python counts four separators of ASCII as white space that Unicode does not.
    let is_space = |character: char| character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character);
    without.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// F1 of two bags of words; where one is empty, whether both are.
fn overlap(predicted: &str, answer: &str) -> f64 {
    let count = |text: &str| text.split(' ').filter(|word| !word.is_empty()).count();
    let (found, wanted) = (count(predicted), count(answer));
    if found == 0 || wanted == 0 {
        return if found == wanted { 1.0 } else { 0.0 };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    answer.split(' ').for_each(|word| *left.entry(word).or_default() += 1);
    let shared = predicted.split(' ').filter(|word| match left.get_mut(word) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    });
    2.0 * shared.count() as f64 / (found + wanted) as f64
}
