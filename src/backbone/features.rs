use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

/// How a sequence becomes one vector. A property of the backbone, so that a pooler exists exactly when it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The last hidden state of the first token.
    Cls,
    /// The mean of the last hidden states of all real tokens (sentence-transformers' usual choice).
    #[default]
    Mean,
    /// The first token through a dense layer and tanh, as BERT was pretrained for next-sentence prediction.
    Pooler,
    /// The decoder's last hidden state at the last end-of-sequence token of the source, as BART classifies. A backbone that
    /// reads one text takes its last real token, which is the one that tokenizers end a text with.
    Eos,
    /// The last hidden state of the last real token, which in a decoder has seen all others.
    LastToken,
}

impl std::str::FromStr for Pooling {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "cls" => Ok(Self::Cls),
            "mean" => Ok(Self::Mean),
            "pooler" => Ok(Self::Pooler),
            "eos" => Ok(Self::Eos),
            "lasttoken" => Ok(Self::LastToken),
            other => Err(format!("no pooling is called `{other}`; use cls, mean, pooler, eos or lasttoken")),
        }
    }
}

impl std::fmt::Display for Pooling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::Pooler => "pooler",
            Self::Eos => "eos",
            Self::LastToken => "lasttoken",
        })
    }
}

/// Features that can be pooled to one vector a row.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be pooled to one vector per row",
    note = "implement `Pooled` for `{Self}`, or use `TextFeatures`"
)]
pub trait Pooled {
    /// `[batch, hidden]`.
    fn pooled(&self) -> Tensor<2>;

    /// What `map`, which maps rows `[rows, hidden]` one by one, makes of the vectors that are pooled, pooled after it where
    /// that is a mean of several: `[batch, out]`.
    fn pooled_late(&self, map: &dyn Fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        map(self.pooled())
    }
}

/// Features with one vector per token or patch.
#[diagnostic::on_unimplemented(message = "`{Self}` has no token axis", note = "this head reads `[batch, seq, hidden]`")]
pub trait Tokens {
    /// `[batch, seq, hidden]`.
    fn hidden(&self) -> Tensor<3>;
    /// True for real tokens, `[batch, seq]`; `None` where every place is real.
    fn mask(&self) -> Option<Tensor<2, Bool>>;
}

/// Features of a backbone with a token embedding that the head shares.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no token embedding to tie to",
    note = "language-model heads need a text backbone (`TextFeatures`)"
)]
pub trait Tied {
    /// `[vocabulary, hidden]`.
    fn token_embedding(&self) -> Tensor<2>;
}

/// Features with feature maps, finest first.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no feature maps",
    note = "this head reads `[batch, channels, height, width]`"
)]
pub trait Maps {
    /// Each `[batch, channels, height, width]`.
    fn maps(&self) -> &[Tensor<4>];
}

/// Features of text backbones.
#[derive(Clone, Debug)]
pub struct TextFeatures {
    /// `[batch, seq, hidden]`.
    pub hidden: Tensor<3>,
    /// True for real tokens, `[batch, seq]`.
    pub mask: Tensor<2, Bool>,
    /// What the backbone itself pooled, `[batch, hidden]`; `None` where it did not, then `pooling` says how to pool.
    pub pooler_output: Option<Tensor<2>>,
    /// How [`Pooled::pooled`] makes one vector a row.
    pub pooling: Pooling,
    /// `[vocabulary, hidden]`.
    pub token_embedding: Tensor<2>,
}

impl Pooled for TextFeatures {
    fn pooled(&self) -> Tensor<2> {
        match (&self.pooler_output, self.pooling) {
            (Some(output), Pooling::Pooler | Pooling::LastToken) => output.clone(),
            (_, Pooling::Mean) => mean_pool(self.hidden.clone(), self.mask.clone()),
            (_, Pooling::Eos) | (None, Pooling::LastToken) => {
                token_at(self.hidden.clone(), last_real(self.mask.clone()))
            }
            _ => first_token(self.hidden.clone()),
        }
    }

    fn pooled_late(&self, map: &dyn Fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        if self.pooling != Pooling::Mean {
            return map(self.pooled());
        }
        let [batch, seq, width] = self.hidden.dims();
        let mapped = map(self.hidden.clone().reshape([batch * seq, width]));
        let width = mapped.dims()[1];
        mean_pool(mapped.reshape([batch, seq, width]), self.mask.clone())
    }
}

impl Tokens for TextFeatures {
    fn hidden(&self) -> Tensor<3> {
        self.hidden.clone()
    }
    fn mask(&self) -> Option<Tensor<2, Bool>> {
        Some(self.mask.clone())
    }
}

impl Tied for TextFeatures {
    fn token_embedding(&self) -> Tensor<2> {
        self.token_embedding.clone()
    }
}

/// `[batch, seq, hidden]` to its first token's `[batch, hidden]`.
pub(crate) fn first_token(hidden: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = hidden.dims();
    hidden.narrow(1, 0, 1).reshape([batch, width])
}

/// `[batch, seq, hidden]` to the tokens at `places`, `[batch]`, one a row: `[batch, hidden]`.
pub(crate) fn token_at(hidden: Tensor<3>, places: Tensor<1, Int>) -> Tensor<2> {
    let [batch, seq, width] = hidden.dims();
    let starts = Tensor::<1, Int>::arange(0..batch as i64, &places.device()) * seq as i64;
    hidden.reshape([batch * seq, width]).select(0, starts + places)
}

/// The place of each row's last true, `[batch]`; 0 in a row without any.
pub(crate) fn last_real(mask: Tensor<2, Bool>) -> Tensor<1, Int> {
    let [batch, seq] = mask.dims();
    let places = Tensor::<1, Int>::arange(0..seq as i64, &mask.device()).unsqueeze::<2>();
    (mask.int() * places).max_dim(1).reshape([batch])
}

/// The mean over real tokens; 0 for a row without any.
pub(in crate::backbone) fn mean_pool(hidden: Tensor<3>, mask: Tensor<2, Bool>) -> Tensor<2> {
    let [batch, _, width] = hidden.dims();
    let weight = mask.float();
    let count = weight.clone().sum_dim(1).clamp_min(1e-9);
    (hidden * weight.unsqueeze_dim::<3>(2)).sum_dim(1).reshape([batch, width]) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_pooling_is_after_the_map_where_it_is_a_mean() {
        let device = crate::nn::test_device();
        let features = |pooling| TextFeatures {
            hidden: Tensor::from_data([[[1.0], [3.0], [9.0]]], &device),
            mask: Tensor::from_data([[true, true, false]], &device),
            pooler_output: None,
            pooling,
            token_embedding: Tensor::zeros([1, 1], &device),
        };
        let square = |rows: Tensor<2>| rows.clone() * rows;
        let late = |pooling| features(pooling).pooled_late(&square).into_scalar::<f32>();
        assert_eq!([Pooling::Mean, Pooling::Cls].map(late), [5.0, 1.0]);
        assert_eq!(square(features(Pooling::Mean).pooled()).into_scalar::<f32>(), 4.0);
    }
}
