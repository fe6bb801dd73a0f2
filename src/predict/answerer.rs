use super::in_batches;
use crate::backbone::{AutoText, Backbone, TextInput};
use crate::checkpoint::{FromPretrained, load_reader};
use crate::data::{TokenRow, WindowRow};
use crate::error::Error;
use crate::head::{SpanHead, SpanLogits, TaskHead};
use crate::model::Model;
use crate::objective::QuestionAnswering;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use std::path::Path;

/// A piece of a context that may be the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AnswerCandidate {
    /// Its words.
    pub text: String,
    /// The byte of the context at which it starts.
    pub start: usize,
    /// The byte after its last one.
    pub end: usize,
    /// The sum of the logits of its two ends, without a unit.
    pub score: f64,
    /// Its share among the candidates and, where that is allowed, no answer, 0 to 1.
    pub probability: f64,
}

/// What a model says about a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answered {
    /// The best candidate; `None` where no answer is the better one, or the context holds no candidate.
    pub answer: Option<AnswerCandidate>,
    /// The best ones, best first.
    pub candidates: Vec<AnswerCandidate>,
    /// The score of no answer: the least of all windows.
    pub null_score: f64,
    /// Whether the question was longer than the model reads.
    pub question_cut: bool,
}

impl Answered {
    /// The answer's words; empty where there is none, as SQuAD's evaluation wants it.
    pub fn text(&self) -> &str {
        self.answer.as_ref().map_or("", |answer| answer.text.as_str())
    }
}

/// A model that finds answers, ready to answer: questions and contexts in, pieces of the contexts out.
#[derive(Debug)]
pub struct Answerer<B = AutoText> {
    model: Model<B, SpanHead>,
    task: QuestionAnswering,
    batch_size: usize,
    candidates: usize,
    max_answer: usize,
    null_margin: Option<f64>,
}

/// The logits of a row's two ends, for its tokens alone.
type Ends = (Vec<f64>, Vec<f64>);

impl Answerer {
    /// From a folder that [`save_reader`](crate::checkpoint::save_reader) or Transformers wrote, whatever its architecture
    /// is, as far as [`AutoText`] knows it.
    ///
    /// # Errors
    /// As [`load_reader`].
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::load_as(folder, device)
    }
}

impl<B> Answerer<B>
where
    B: FromPretrained + Backbone<Input = TextInput>,
    SpanHead: TaskHead<B::Features, Output = SpanLogits>,
{
    /// From a model that is in memory. It takes the best of 20 candidates of up to 30 tokens, and always gives an answer.
    pub fn new(model: &Model<B, SpanHead>, task: QuestionAnswering) -> Self {
        Self { model: model.valid(), task, batch_size: 32, candidates: 20, max_answer: 30, null_margin: None }
    }

    /// As [`load`](Answerer::load), with the backbone that the type names: `Answerer::<Mine>::load_as(folder, &device)`.
    ///
    /// # Errors
    /// As [`load_reader`].
    pub fn load_as(folder: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let saved = load_reader::<B>(folder, device)?;
        Ok(Self::new(&saved.model, saved.task))
    }

    /// The same answerer, reading at most so many windows at once (0 counts as 1).
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size.max(1);
        self
    }

    /// The same answerer with so many candidates a question: also how many places of each window are tried for either end.
    pub fn with_candidates(mut self, candidates: usize) -> Self {
        self.candidates = candidates.max(1);
        self
    }

    /// The same answerer, whose answers have at most so many tokens.
    pub fn with_max_answer(mut self, tokens: usize) -> Self {
        self.max_answer = tokens.max(1);
        self
    }

    /// The same answerer, which gives no answer where that scores better than the best candidate by more than `margin`
    /// (SQuAD 2.0; 0 is usual).
    pub fn with_no_answer(mut self, margin: f64) -> Self {
        self.null_margin = Some(margin);
        self
    }

    /// Answers questions, each with its context, in their order. Candidates of all windows of a context compete, as in
    /// Transformers' recipe for SQuAD.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode; tokens that the network has no place for.
    pub fn answer<Q, C>(&self, questions: &[(Q, C)]) -> Result<Vec<Answered>, Error>
    where
        Q: AsRef<str> + Sync,
        C: AsRef<str> + Sync,
    {
        let encoded = self.task.tokenizer().encode_windows(questions, self.task.windows())?;
        let windows: Vec<&WindowRow> = encoded.iter().flat_map(|question| &question.windows).collect();
        let rows: Vec<&TokenRow> = windows.iter().map(|window| &window.row).collect();
        let mut ends: Vec<Ends> = vec![Ends::default(); rows.len()];
        in_batches(&self.model, &rows, self.task.tokenizer(), self.batch_size, |indices, output| {
            let SpanLogits { start, end } = output;
            let [start, end] = [start, end].map(on_host);
            for (row, index) in indices.iter().enumerate() {
                let tokens = rows[*index].len();
                ends[*index] = (start[row][..tokens].to_vec(), end[row][..tokens].to_vec());
            }
        })?;
        let mut read = windows.into_iter().zip(ends);
        let answered = encoded.iter().zip(questions).map(|(question, (_, context))| {
            let windows: Vec<_> = read.by_ref().take(question.windows.len()).collect();
            let answered = self.choose(&windows, context.as_ref());
            Answered { question_cut: question.question_cut, ..answered }
        });
        Ok(answered.collect())
    }

    /// The best candidates of all windows.
    fn choose(&self, windows: &[(&WindowRow, Ends)], context: &str) -> Answered {
        let mut candidates: Vec<AnswerCandidate> = vec![];
        let mut null_score = f64::INFINITY;
        for (window, (start, end)) in windows {
            let null = window.null_token();
            // A tokenizer that frames nothing makes no token of nothing.
            if let (Some(start), Some(end)) = (start.get(null), end.get(null)) {
                null_score = null_score.min(start + end);
            }
            for first in best(start, self.candidates) {
                for last in best(end, self.candidates) {
                    let fits = (first..first.saturating_add(self.max_answer)).contains(&last);
                    let bytes = (window.offsets[first], window.offsets[last]);
                    let (true, (Some((from, _)), Some((_, to)))) = (fits, bytes) else { continue };
                    let Some(text) = context.get(from..to) else { continue };
                    let score = start[first] + end[last];
                    candidates.push(AnswerCandidate {
                        text: text.into(),
                        start: from,
                        end: to,
                        score,
                        probability: 0.0,
                    });
                }
            }
        }
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        // Two windows may hold the same piece.
        let mut seen = std::collections::HashSet::new();
        candidates.retain(|candidate| seen.insert((candidate.start, candidate.end)));
        candidates.truncate(self.candidates);
        let null = self.null_margin.map(|_| null_score);
        let scores: Vec<f64> = candidates.iter().map(|candidate| candidate.score).chain(null).collect();
        for (candidate, probability) in candidates.iter_mut().zip(super::softmax(&scores)) {
            candidate.probability = probability;
        }
        let none_is_better =
            |best: &AnswerCandidate| self.null_margin.is_some_and(|margin| null_score - best.score > margin);
        let answer = candidates.first().filter(|best| !none_is_better(best)).cloned();
        Answered { answer, candidates, null_score, question_cut: false }
    }
}

/// The places of the largest values, the largest first.
fn best(logits: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..logits.len()).collect();
    places.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    places.truncate(count);
    places
}

fn on_host(logits: Tensor<2>) -> Vec<Vec<f64>> {
    let seq = logits.dims()[1].max(1);
    let values: Vec<f64> = logits.into_data().iter::<f64>().collect();
    values.chunks_exact(seq).map(<[f64]>::to_vec).collect()
}
