//! Encoder-decoders.

use crate::check::case::classes;
use rekindle::backbone::{Bart, T5, T5Encoder, Whisper};
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
    "T5EncoderModel" => Body<T5Encoder>,
    "T5ForTokenClassification" => With<T5Encoder, TokenClassifier>,
    "WhisperModel" => Body<Whisper>,
    "WhisperForConditionalGeneration" => With<Whisper, Seq2SeqLm>,
}
