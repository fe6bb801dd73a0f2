use super::Rehearsal;
use burn::module::{
    Content, Devices, Flag, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param, ParamId,
};
use burn::tensor::{Device, Tensor, module};
use std::sync::{Arc, Mutex, PoisonError};

/// Batch normalisation over all axes but the second ([Ioffe and Szegedy, 2015](https://arxiv.org/abs/1502.03167)).
///
/// While it trains it normalises by the batch's own statistics and moves the running ones towards them, as
/// `torch.nn.BatchNorm2d` does; frozen, in `valid()` models and on plain devices it uses the running ones and leaves them.
/// Checkpoints of a run hold the running statistics; an average of the weights goes with the latest of them.
///
/// Burn 0.22's own keeps the running variance without PyTorch's correction by `n / (n - 1)`.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Mean of the channels, `[channels]`.
    pub running_mean: Statistic,
    /// Variance of the channels, `[channels]`.
    pub running_var: Statistic,
    training: Param<Flag>,
    momentum: f64,
    epsilon: f64,
}

impl BatchNorm {
    /// Scale 1, shift 0, mean 0 and variance 1; momentum 0.1, epsilon 1e-5.
    pub fn new(channels: usize, device: &Device) -> Self {
        let (ones, zeros) = (|| Tensor::ones([channels], device), || Tensor::zeros([channels], device));
        Self {
            weight: Param::from_tensor(ones()),
            bias: Param::from_tensor(zeros()),
            running_mean: Statistic::new(zeros()),
            running_var: Statistic::new(ones()),
            training: Param::from_bool(true),
            momentum: 0.1,
            epsilon: 1e-5,
        }
    }

    /// `[batch, channels, ..]`, unchanged.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let rehearses = Rehearsal::is_on();
        if !self.training.is_enabled() || !(rehearses || weight.device().is_autodiff()) {
            return self.by_running_statistics(input, weight, bias);
        }
        let [channels] = weight.dims();
        let count = (input.shape().num_elements() / channels.max(1)) as f64;
        let result = module::batch_norm_train(input, weight, bias, self.epsilon);
        if rehearses {
            return result.output;
        }
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        self.running_mean.move_to(result.mean, self.momentum);
        self.running_var.move_to(unbiased, self.momentum);
        result.output
    }

    /// One product and one sum a value, rounded as PyTorch rounds them.
    fn by_running_statistics<const D: usize>(&self, input: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<D> {
        let (mean, var) = (self.running_mean.value(), self.running_var.value());
        let scale = weight * (var + self.epsilon).sqrt().recip();
        let shift = bias - scale.clone() * mean;
        let mut shape = [1; D];
        shape[1] = input.dims()[1];
        input * scale.reshape(shape) + shift.reshape(shape)
    }
}

/// A value that moves in the forward pass and is not trained, `[channels]`.
///
/// A clone shares it until one of the two is mapped, trained or made `valid()`. (Burn 0.22's `RunningState` goes on to
/// share it when a clone is mapped, so that loading into the clone would write the original's.) It stays on the plain device,
/// for no gradient flows into it.
#[derive(Clone, Debug)]
pub struct Statistic {
    id: ParamId,
    value: Arc<Mutex<Tensor<1>>>,
}

impl Statistic {
    /// One that begins with this value.
    pub fn new(value: Tensor<1>) -> Self {
        Self::of(ParamId::new(), value)
    }

    /// The present value, `[channels]`.
    pub fn value(&self) -> Tensor<1> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of(id: ParamId, value: Tensor<1>) -> Self {
        Self { id, value: Arc::new(Mutex::new(value.without_autodiff())) }
    }

    /// Moves it towards `target` by the share `momentum`.
    fn move_to(&self, target: Tensor<1>, momentum: f64) {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *value = value.clone() * (1.0 - momentum) + target.without_autodiff() * momentum;
    }
}

impl Module for Statistic {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&Param::initialized(self.id, self.value()));
    }
    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let (id, value, _) = mapper.map_float(Param::initialized(self.id, self.value())).consume();
        Self::of(id, value)
    }
    fn to_device(self, device: &Device) -> Self {
        Self::of(self.id, self.value().to_device(device))
    }
    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }
    fn collect_devices(&self, mut devices: Devices) -> Devices {
        let device = self.value().device();
        if !devices.contains(&device) {
            devices.push(device);
        }
        devices
    }
    fn materialize(self) -> Self {
        self
    }
    fn valid(&self) -> Self {
        Self::of(self.id, self.value())
    }
    fn train(self) -> Self {
        self.valid()
    }
}

impl ModuleDisplayDefault for Statistic {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"Statistic".to_string()).optional()
    }
}

impl ModuleDisplay for Statistic {}

impl std::fmt::Display for Statistic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Statistic(id={})", self.id)
    }
}
