//! Adam, with gradients cut to a norm.

use tch::{Device, Kind, Tensor};

use super::error::ModelError;

const BETA: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;
/// The norm that all gradients together are cut to.
const GREATEST_GRADIENT: f64 = 10.0;

#[derive(Debug)]
pub struct Adam {
    /// Running means of the gradients and of their squares.
    pub first: Vec<Tensor>,
    pub second: Vec<Tensor>,
    pub steps: i64,
}

impl Adam {
    pub fn new(weights: &[Tensor]) -> Self {
        let zeros = || weights.iter().map(Tensor::zeros_like).collect();
        Self { first: zeros(), second: zeros(), steps: 0 }
    }

    /// Moves the weights; to be called without recording gradients.
    pub fn step(
        &mut self,
        weights: &mut [Tensor],
        gradients: &[Tensor],
        learning_rate: f64,
    ) -> Result<(), ModelError> {
        self.steps += 1;
        let squares = gradients.iter().map(|gradient| gradient.square().sum(Kind::Float));
        let norm = squares
            .fold(Tensor::zeros([], (Kind::Float, Device::Cpu)), |sum, square| sum + square)
            .sqrt();
        let scale = (GREATEST_GRADIENT / norm.double_value(&[]).max(1e-12)).min(1.0);
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let rate = learning_rate * correction(BETA.1).sqrt() / correction(BETA.0);
        for (index, (weight, gradient)) in weights.iter_mut().zip(gradients).enumerate() {
            let gradient = gradient * scale;
            let (first, second) = (&mut self.first[index], &mut self.second[index]);
            let _ = first.f_mul_scalar_(BETA.0)?.f_add_(&(&gradient * (1.0 - BETA.0)))?;
            let _ = second.f_mul_scalar_(BETA.1)?.f_add_(&(gradient.square() * (1.0 - BETA.1)))?;
            let update = &*first / (second.sqrt() + EPSILON) * -rate;
            let _ = weight.f_add_(&update)?;
        }
        Ok(())
    }
}
