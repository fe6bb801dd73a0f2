//! Encoders.

use crate::check::case::classes;
use rekindle::backbone::Bert;
use rekindle::head::{Classifier, MaskedLm, Pretraining};

classes! {
    "BertModel" => Body<Bert>,
    "BertForMaskedLM" => With<Bert, MaskedLm>,
    "BertForSequenceClassification" => With<Bert, Classifier>,
    "BertForPreTraining" => With<Bert, Pretraining>,
}
