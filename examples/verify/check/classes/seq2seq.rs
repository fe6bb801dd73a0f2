//! Encoder-decoders.

use crate::check::case::classes;
use rekindle::backbone::{AutoText, Bart, T5, Whisper};
use rekindle::head::{Classifier, Seq2SeqLm, SpanHead, TokenClassifier};

classes! {
    "BartModel" => Body<Bart>,
    "BartForConditionalGeneration" => With<Bart, Seq2SeqLm>,
    "BartForSequenceClassification" => With<Bart, Classifier>,
    "BartForQuestionAnswering" => With<Bart, SpanHead>,
    "MarianModel" => Body<Bart>,
    "MarianMTModel" => With<Bart, Seq2SeqLm>,
    "T5Model" => Body<T5>,
    "T5ForConditionalGeneration" => With<T5, Seq2SeqLm>,
    "T5ForSequenceClassification" => With<T5, Classifier>,
    "T5ForQuestionAnswering" => With<T5, SpanHead>,
    "T5EncoderModel" => Body<AutoText>,
    "T5ForTokenClassification" => With<AutoText, TokenClassifier>,
    "WhisperModel" => Body<Whisper>,
    "WhisperForConditionalGeneration" => With<Whisper, Seq2SeqLm>,
}
