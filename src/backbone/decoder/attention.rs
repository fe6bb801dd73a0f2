use super::config::Sizes;
use crate::nn::{Dropout, Init, Linear, RmsNorm, Rotary, Scoring, Visible, attend, linear, merge_heads, split_heads};
use burn::module::Module;
use burn::tensor::Tensor;

/// What a layer's attention is made of.
#[derive(Clone, Debug)]
pub(super) struct AttentionPlan {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) head_dim: usize,
    /// Whether the maps to queries, keys and values have biases.
    pub(super) input_bias: bool,
    /// Whether the map of the result has one.
    pub(super) output_bias: bool,
    /// Dropout on the probabilities.
    pub(super) dropout: f64,
    pub(super) scoring: Scoring,
    pub(super) rotary: Rotary,
}

impl AttentionPlan {
    /// Without biases.
    pub(super) fn new(sizes: &Sizes<'_>, scoring: Scoring, rotary: Rotary) -> Self {
        Self {
            hidden: sizes.hidden_size,
            heads: sizes.heads,
            groups: sizes.groups,
            head_dim: sizes.head_dim,
            input_bias: false,
            output_bias: false,
            dropout: sizes.attention_dropout,
            scoring,
            rotary,
        }
    }

    /// With biases in the maps to queries, keys and values, and of the result.
    pub(super) fn with_bias(self, input_bias: bool, output_bias: bool) -> Self {
        Self { input_bias, output_bias, ..self }
    }
}

/// Causal attention over rotated queries and keys.
#[derive(Module, Debug)]
pub(super) struct RotaryAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    dropout: Dropout,
    #[module(skip)]
    rotated: Rotated,
}

impl RotaryAttention {
    pub(super) fn new(plan: &AttentionPlan, init: &mut Init) -> Self {
        let AttentionPlan { hidden, heads, groups, head_dim, .. } = *plan;
        Self {
            q_proj: init.linear_with(hidden, heads * head_dim, plan.input_bias),
            k_proj: init.linear_with(hidden, groups * head_dim, plan.input_bias),
            v_proj: init.linear_with(hidden, groups * head_dim, plan.input_bias),
            o_proj: init.linear_with(heads * head_dim, hidden, plan.output_bias),
            q_norm: None,
            k_norm: None,
            dropout: Dropout::new(plan.dropout),
            rotated: Rotated::new(plan),
        }
    }

    /// The same with norms over each head of queries and keys before they are rotated.
    pub(super) fn with_head_norms(mut self, mut norm: impl FnMut() -> RmsNorm) -> Self {
        self.q_norm = Some(norm());
        self.k_norm = Some(norm());
        self
    }

    /// `[batch, seq, hidden]` to `[batch, seq, hidden]`.
    pub(super) fn forward(&self, hidden: Tensor<3>, visible: &Visible) -> Tensor<3> {
        let Rotated { heads, groups, .. } = self.rotated;
        let query = normal_heads(&self.q_norm, linear(&self.q_proj, hidden.clone()), heads);
        let key = normal_heads(&self.k_norm, linear(&self.k_proj, hidden.clone()), groups);
        let value = split_heads(linear(&self.v_proj, hidden), groups);
        linear(&self.o_proj, self.rotated.mix(query, key, value, visible, &self.dropout))
    }

    /// Sum of the widths of all heads.
    pub(super) fn width(&self) -> usize {
        self.rotated.width()
    }
}

/// `[batch, seq, heads * width]` to `[batch, heads, seq, width]`, normalised by heads where there is a norm.
fn normal_heads(norm: &Option<RmsNorm>, input: Tensor<3>, heads: usize) -> Tensor<4> {
    let Some(norm) = norm else { return split_heads(input, heads) };
    let [batch, seq, hidden] = input.dims();
    // Before the axes are swapped: rows are then in order.
    norm.forward(input.reshape([batch, seq, heads, hidden / heads])).swap_dims(1, 2)
}

/// The part of attention without parameters: queries and keys are rotated, values mixed.
#[derive(Clone, Debug)]
pub(super) struct Rotated {
    pub(super) heads: usize,
    pub(super) groups: usize,
    head_dim: usize,
    scoring: Scoring,
    rotary: Rotary,
}

impl Rotated {
    pub(super) fn new(plan: &AttentionPlan) -> Self {
        let AttentionPlan { heads, groups, head_dim, scoring, .. } = *plan;
        Self { heads, groups, head_dim, scoring, rotary: plan.rotary.clone() }
    }

    /// Queries `[batch, heads, seq, head_dim]` over keys and values `[batch, groups, seq, head_dim]`:
    /// `[batch, seq, heads * head_dim]`.
    pub(super) fn mix(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        visible: &Visible,
        dropout: &Dropout,
    ) -> Tensor<3> {
        let [query, key] = visible.rotate(&self.rotary, [query, key]);
        merge_heads(attend(query, key, value, self.scoring, visible.clone(), dropout))
    }

    /// Sum of the widths of all heads.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_dim
    }
}
