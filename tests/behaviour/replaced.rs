//! The head that tells replaced tokens.

use burn::tensor::{Bool, Int, Tensor, TensorData};
use rekindle::backbone::{InputError, Pooling, TextFeatures};
use rekindle::head::{ReplacedToken, TaskHead};
use rekindle::metric::Scores;
use rekindle::nn::Activation;

use super::support::device;

/// Two rows of three tokens, the last one of the second row padding.
fn features() -> TextFeatures {
    let values: Vec<f32> = (0..2 * 3 * 4).map(|at| (at as f32 * 0.7).sin()).collect();
    TextFeatures {
        hidden: Tensor::from_data(TensorData::new(values, [2, 3, 4]), &device()),
        mask: Tensor::<2, Bool>::from_data([[true, true, true], [true, true, false]], &device()),
        pooler_output: None,
        pooling: Pooling::Mean,
        token_embedding: Tensor::zeros([3, 4], &device()),
    }
}

fn labels(values: [[i32; 3]; 2]) -> Tensor<2, Int> {
    Tensor::from_ints(values, &device())
}

#[test]
fn the_loss_is_the_mean_over_real_tokens() {
    let head = ReplacedToken::new(4, Activation::Gelu, 3, &device());
    let logits: Vec<f64> = head.forward(features()).into_data().iter::<f64>().collect();
    let cost =
        |place: usize, replaced: bool| (1.0 + (if replaced { -logits[place] } else { logits[place] }).exp()).ln();
    let expected = [(0, false), (1, true), (2, false), (3, true), (4, false)].map(|(place, label)| cost(place, label));
    let loss = head.loss(features(), labels([[0, 1, 0], [1, 0, 1]]));
    assert_eq!(loss.weight, 5.0);
    assert!((f64::from(loss.sum.into_scalar::<f32>()) - expected.iter().sum::<f64>()).abs() < 1e-5);
    let padding_differs = head.loss(features(), labels([[0, 1, 0], [1, 0, 0]]));
    assert!((f64::from(padding_differs.sum.into_scalar::<f32>()) - expected.iter().sum::<f64>()).abs() < 1e-5);

    let mut scores = Scores::default();
    head.score(features(), labels([[0, 1, -100], [1, 0, 1]]), &mut scores);
    let told = [(0, false), (1, true), (3, true), (4, false)].map(|(place, label)| (logits[place] > 0.0) == label);
    let right = told.iter().filter(|right| **right).count();
    assert_eq!(scores.summary().accuracy, Some(right as f64 / 4.0));
    let mean = (expected.iter().sum::<f64>() - expected[2]) / 4.0;
    assert!((scores.summary().loss - mean).abs() < 1e-5);
}

#[test]
fn labels_that_mean_nothing_are_refused_and_none_at_all_is_a_loss_of_nothing() {
    let head = ReplacedToken::new(4, Activation::Relu, 3, &device());
    let check = |values| TaskHead::<TextFeatures>::check(&head, &labels(values));
    assert_eq!(check([[0, 1, -100]; 2]), Ok(()));
    assert_eq!(check([[0, 1, 2]; 2]), Err(InputError::ClassOutOfRange { class: 2, classes: 2 }));
    let nothing = head.loss(features(), labels([[-100; 3], [-100, -100, 1]]));
    assert_eq!((nothing.weight, nothing.sum.into_scalar::<f32>()), (0.0, 0.0));
    let short: Tensor<2, Int> = Tensor::from_ints([[0, 1]; 2], &device());
    assert!(head.loss(features(), short).mean().into_scalar::<f32>().is_nan(), "one label a token");
}
