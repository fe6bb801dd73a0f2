use super::TrainError;
use serde::{Deserialize, Serialize};

/// What holds a run back from fitting its examples too closely, besides weight decay and dropout. Nothing unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Regularisation {
    /// R-Drop ([Liang et al., 2021](https://arxiv.org/abs/2106.14448)): every micro-batch runs twice with other dropout, and
    /// this factor times the divergence of both answers is added to the mean of both losses
    /// ([`ClassLoss::r_drop`](crate::loss::ClassLoss::r_drop)). Frozen stages run once. 1 to 5 is usual.
    pub r_drop: Option<f64>,
    /// Draws parameters to the values that training started from.
    pub l2_sp: Option<L2Sp>,
    /// Mixout ([Lee et al., 2020](https://arxiv.org/abs/1909.11299)): in each step, a value of the backbone's weights that
    /// train (not of biases, normalisation layers and embeddings, as in the authors' program) is the one that training
    /// started from with this probability, from 0 to below 1. What the forward pass reads is
    /// `((1 - m) * u + m * w - p * u) / (1 - p)` for starting weights `u` and a mask `m` that is 0 with probability `p`;
    /// evaluation and what is saved are `w`.
    pub mixout: Option<f64>,
}

/// L2-SP ([Li et al., 2018](https://arxiv.org/abs/1802.01483)): adds `alpha / 2 * |w - u|^2` over the backbone's parameters
/// `w` that train, from the values `u` that they started from, and `beta / 2 * |v|^2` over the head's, `v`, to the mean loss.
///
/// It takes the place of weight decay: set that to 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct L2Sp {
    /// Strength for the backbone.
    pub alpha: f64,
    /// Strength for the head.
    pub beta: f64,
}

impl L2Sp {
    /// With the authors' `beta` of 0.01.
    pub fn new(alpha: f64) -> Self {
        Self { alpha, beta: 0.01 }
    }
}

impl Regularisation {
    /// Whether a run must remember the weights that it started from.
    pub(super) fn needs_start(&self) -> bool {
        self.l2_sp.is_some() || self.mixout.is_some()
    }

    /// Refuses options that mean nothing.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let strengths = [
            ("regularisation.r_drop", self.r_drop),
            ("regularisation.l2_sp.alpha", self.l2_sp.map(|l2_sp| l2_sp.alpha)),
            ("regularisation.l2_sp.beta", self.l2_sp.map(|l2_sp| l2_sp.beta)),
        ];
        for (option, value) in strengths.into_iter().filter_map(|(option, value)| Some((option, value?))) {
            if !((value as f32).is_finite() && value >= 0.0) {
                return Err(TrainError::BadOption {
                    option,
                    value: value.to_string(),
                    mend: "give 0 or a number above 0",
                });
            }
        }
        match self.mixout.filter(|prob| !(0.0..1.0).contains(prob)) {
            None => Ok(()),
            Some(prob) => Err(TrainError::BadOption {
                option: "regularisation.mixout",
                value: prob.to_string(),
                mend: "give a probability from 0 to below 1",
            }),
        }
    }
}
