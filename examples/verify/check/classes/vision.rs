//! Networks that read images.

use crate::check::case::classes;
use rekindle::backbone::{ConvNext, Dinov2, ResNet, Swin, Vit};
use rekindle::head::{Classifier, TwoClassifiers};

classes! {
    "ViTModel" => Body<Vit>,
    "ViTForImageClassification" => With<Vit, Classifier>,
    "DeiTModel" => Body<Vit>,
    "DeiTForImageClassification" => With<Vit, Classifier>,
    "DeiTForImageClassificationWithTeacher" => With<Vit, TwoClassifiers>,
    "Dinov2Model" => Body<Dinov2>,
    "Dinov2ForImageClassification" => With<Dinov2, Classifier>,
    "SwinModel" => Body<Swin>,
    "SwinForImageClassification" => With<Swin, Classifier>,
    "ConvNextModel" => Body<ConvNext>,
    "ConvNextForImageClassification" => With<ConvNext, Classifier>,
    "ResNetModel" => Body<ResNet>,
    "ResNetForImageClassification" => With<ResNet, Classifier>,
}
