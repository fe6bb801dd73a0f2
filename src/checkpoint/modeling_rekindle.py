"""BERT sequence classification with the pooling that `rekindle` trained it with (`rekindle_pooling`: cls or mean)."""

from torch import nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


LOSSES = {
    "single_label_classification": nn.functional.cross_entropy,
    "multi_label_classification": nn.functional.binary_cross_entropy_with_logits,
    "regression": lambda outputs, targets: nn.functional.mse_loss(outputs, targets.reshape(outputs.shape)),
}


class RekindleBertForSequenceClassification(BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = BertModel(config, add_pooling_layer=False)
        dropout = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None, **kwargs):
        hidden = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        if self.config.rekindle_pooling == "cls":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(1)
        else:
            weight = attention_mask.to(hidden.dtype).unsqueeze(-1)
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        logits = self.classifier(self.dropout(pooled))
        loss = None if labels is None else LOSSES[self.config.problem_type](logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
