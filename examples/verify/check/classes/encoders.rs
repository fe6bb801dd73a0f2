//! Encoders.

use crate::check::case::classes;
use rekindle::backbone::{Bert, Roberta};
use rekindle::head::{Classifier, MaskedLm, MultipleChoice, Pretraining, SpanHead, TokenClassifier};

classes! {
    "BertModel" => Body<Bert>,
    "BertForMaskedLM" => With<Bert, MaskedLm>,
    "BertForSequenceClassification" => With<Bert, Classifier>,
    "BertForPreTraining" => With<Bert, Pretraining>,
    "BertForTokenClassification" => With<Bert, TokenClassifier>,
    "BertForMultipleChoice" => With<Bert, MultipleChoice>,
    "BertForQuestionAnswering" => With<Bert, SpanHead>,
    "RobertaModel" => Body<Roberta>,
    "RobertaForMaskedLM" => With<Roberta, MaskedLm>,
    "RobertaForSequenceClassification" => With<Roberta, Classifier>,
    "RobertaForTokenClassification" => With<Roberta, TokenClassifier>,
    "RobertaForMultipleChoice" => With<Roberta, MultipleChoice>,
    "RobertaForQuestionAnswering" => With<Roberta, SpanHead>,
    "XLMRobertaModel" => Body<Roberta>,
    "XLMRobertaForMaskedLM" => With<Roberta, MaskedLm>,
    "XLMRobertaForSequenceClassification" => With<Roberta, Classifier>,
    "XLMRobertaForTokenClassification" => With<Roberta, TokenClassifier>,
    "XLMRobertaForMultipleChoice" => With<Roberta, MultipleChoice>,
    "XLMRobertaForQuestionAnswering" => With<Roberta, SpanHead>,
    "CamembertModel" => Body<Roberta>,
    "CamembertForMaskedLM" => With<Roberta, MaskedLm>,
    "CamembertForSequenceClassification" => With<Roberta, Classifier>,
    "CamembertForTokenClassification" => With<Roberta, TokenClassifier>,
    "CamembertForQuestionAnswering" => With<Roberta, SpanHead>,
}
