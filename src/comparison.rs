//! How causes are compared, for the catalogues of both programs.
//!
//! In: the causes that have evidence, with the relations that they declare. Out: for each of them why it is not
//! reported, or nothing if it is. In this order:
//!
//! 1. A cause that evidence contradicts is dropped.
//! 2. A cause is dropped if it yields to another supported cause, or is a symptom of the layer of one.
//! 3. A general cause is dropped if a specific cause of its layer remains.

/// How much a cause says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specificity {
    /// It names what must be fixed.
    Specific,
    /// It only names the layer. It is reported if no specific cause of its layer fits.
    General,
}

/// The relations of a cause.
pub trait Related: 'static {
    /// What must be fixed, or the step that failed.
    type Layer: PartialEq;

    /// The id of the cause.
    fn id(&self) -> &'static str;
    /// The layer of the cause.
    fn layer(&self) -> Self::Layer;
    /// How much it says.
    fn specificity(&self) -> Specificity;
    /// Whether `symptom` is a symptom or a weaker form of this cause.
    fn explains(&self, symptom: &Self) -> bool;
}

/// Why a supported cause is not reported.
#[derive(Debug)]
pub enum Reason<C: 'static> {
    /// Evidence contradicts it.
    Excluded(String),
    /// It is a symptom or a weaker form of this cause.
    Explained(&'static C),
    /// It is a general cause, and this one is a specific cause of the same layer.
    General(&'static C),
}

impl<C: Related> std::fmt::Display for Reason<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Excluded(seen) => write!(f, "contradicted: {seen}"),
            Reason::Explained(cause) => write!(f, "explained by `{}`", cause.id()),
            Reason::General(cause) => write!(f, "more general than `{}`", cause.id()),
        }
    }
}

/// For each supported cause, why it is not reported. `excluded` returns the evidence that contradicts a cause.
pub fn compare<C: Related>(
    supported: &[&'static C],
    excluded: impl Fn(&C) -> Option<String>,
) -> Vec<Option<Reason<C>>> {
    let mut reasons: Vec<Option<Reason<C>>> =
        supported.iter().map(|cause| excluded(cause).map(Reason::Excluded)).collect();
    let explained = |cause: &C, other: &C| other.explains(cause);
    drop_if(supported, &mut reasons, explained, Reason::Explained);
    drop_if(supported, &mut reasons, is_more_general, Reason::General);
    reasons
}

/// Drops each remaining cause for which another remaining cause is a reason.
fn drop_if<C: Related>(
    supported: &[&'static C],
    reasons: &mut [Option<Reason<C>>],
    is_reason: impl Fn(&C, &C) -> bool,
    reason: impl Fn(&'static C) -> Reason<C>,
) {
    let remaining: Vec<&'static C> =
        supported.iter().zip(&*reasons).filter(|(_, reason)| reason.is_none()).map(|(cause, _)| *cause).collect();
    for (cause, slot) in supported.iter().zip(reasons) {
        if slot.is_none() {
            *slot = remaining.iter().find(|other| is_reason(cause, other)).map(|other| reason(other));
        }
    }
}

fn is_more_general<C: Related>(cause: &C, other: &C) -> bool {
    let is_pair = cause.specificity() == Specificity::General && other.specificity() == Specificity::Specific;
    is_pair && cause.layer() == other.layer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Cause(&'static str, u8, Specificity, &'static [&'static str]);

    impl Related for Cause {
        type Layer = u8;

        fn id(&self) -> &'static str {
            self.0
        }

        fn layer(&self) -> u8 {
            self.1
        }

        fn specificity(&self) -> Specificity {
            self.2
        }

        fn explains(&self, symptom: &Cause) -> bool {
            symptom.3.contains(&self.0)
        }
    }

    static ROOT: Cause = Cause("root", 1, Specificity::Specific, &[]);
    static SYMPTOM: Cause = Cause("symptom", 2, Specificity::Specific, &["root"]);
    static SECOND_SYMPTOM: Cause = Cause("second-symptom", 3, Specificity::Specific, &["symptom"]);
    static GENERAL: Cause = Cause("general", 2, Specificity::General, &[]);

    fn reported(supported: &[&'static Cause], contradicted: &[&str]) -> Vec<&'static str> {
        let excluded = |cause: &Cause| contradicted.contains(&cause.0).then(|| "seen".to_owned());
        let reasons = compare(supported, excluded);
        supported.iter().zip(reasons).filter(|(_, reason)| reason.is_none()).map(|(cause, _)| cause.0).collect()
    }

    #[test]
    fn a_symptom_of_a_symptom_is_dropped_too() {
        assert_eq!(reported(&[&ROOT, &SYMPTOM, &SECOND_SYMPTOM], &[]), ["root"]);
        assert_eq!(reported(&[&SYMPTOM, &SECOND_SYMPTOM], &[]), ["symptom"]);
    }

    #[test]
    fn a_contradicted_cause_explains_nothing() {
        assert_eq!(reported(&[&ROOT, &SYMPTOM], &["root"]), ["symptom"]);
        assert_eq!(reported(&[&SYMPTOM, &GENERAL], &["symptom"]), ["general"]);
    }

    #[test]
    fn a_general_cause_remains_if_the_specific_ones_of_its_layer_are_dropped() {
        assert_eq!(reported(&[&SYMPTOM, &GENERAL], &[]), ["symptom"]);
        assert_eq!(reported(&[&ROOT, &GENERAL], &[]), ["root", "general"]);
        // What explains the specific cause does not explain the general one.
        assert_eq!(reported(&[&ROOT, &SYMPTOM, &GENERAL], &[]), ["root", "general"]);
    }
}
