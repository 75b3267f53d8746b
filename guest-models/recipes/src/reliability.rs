//! How well probabilities keep their word: one figure and one diagram.
//!
//! Pure. The same rows give the same bytes.

use std::fmt::Write as _;

/// Equal bins of `0..=1`, each with what was said and what was found there.
#[derive(Debug)]
pub(crate) struct Reliability {
    bins: [Bin; N_BINS],
}

/// How many bins there are.
pub(crate) const N_BINS: usize = 10;

/// Where a label's diagram lies, beside its plugin's card.
pub(crate) fn file_name(label: &str) -> String {
    format!("reliability-{}.svg", label.replace('/', "-"))
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    n_rows: usize,
    /// Sum of the rows' weights.
    weight: f64,
    /// Weighted sum of the probabilities.
    said: f64,
    /// Weight of the positive rows.
    found: f64,
}

impl Reliability {
    /// Of rows at the frequencies they have.
    pub(crate) fn natural(probabilities: &[f64], truths: &[bool]) -> Self {
        Self::weighed(probabilities, truths, 1.0, 1.0)
    }

    /// As if positives were `prevalence` of the rows: the rows of a class weigh the
    /// more the rarer it is here. Both classes are there.
    pub(crate) fn at(prevalence: f64, probabilities: &[f64], truths: &[bool]) -> Self {
        let n_positives = truths.iter().filter(|&&truth| truth).count() as f64;
        let share = n_positives / truths.len() as f64;
        Self::weighed(
            probabilities,
            truths,
            prevalence / share,
            (1.0 - prevalence) / (1.0 - share),
        )
    }

    fn weighed(probabilities: &[f64], truths: &[bool], positive: f64, negative: f64) -> Self {
        let mut bins = [Bin::default(); N_BINS];
        for (&probability, &truth) in probabilities.iter().zip(truths) {
            let bin = &mut bins[((probability * N_BINS as f64) as usize).min(N_BINS - 1)];
            let weight = if truth { positive } else { negative };
            bin.n_rows += 1;
            bin.weight += weight;
            bin.said += weight * probability;
            bin.found += if truth { weight } else { 0.0 };
        }
        Self { bins }
    }

    /// Expected calibration error: mean distance between what was said and what was
    /// found in a bin, each bin counting by its rows.
    ///
    /// Naeini, Cooper & Hauskrecht 2015, "Obtaining Well Calibrated Probabilities
    /// Using Bayesian Binning", AAAI.
    pub(crate) fn error(&self) -> f64 {
        let gaps: f64 = self
            .bins
            .iter()
            .map(|bin| (bin.said - bin.found).abs())
            .sum();
        gaps / self.bins.iter().map(|bin| bin.weight).sum::<f64>()
    }

    /// A diagram of what was said against what was found: a dot for each bin with
    /// rows, its 95 % interval, and its number of rows at the foot. Its colours can
    /// be read on white and on black.
    pub(crate) fn svg(&self, label: &str) -> String {
        let mut svg = frame(label, self.error());
        for (at, bin) in self.bins.iter().enumerate() {
            let centre = x((at as f64 + 0.5) / N_BINS as f64);
            // Writing to a String does not fail.
            let _ = writeln!(
                svg,
                "<text x=\"{centre:.1}\" y=\"{:.1}\" font-size=\"10\">{}</text>",
                y(0.0) + 32.0,
                bin.n_rows
            );
            if bin.n_rows > 0 {
                svg += &dot(bin);
            }
        }
        svg + "</g>\n</svg>\n"
    }
}

fn dot(bin: &Bin) -> String {
    let (said, found) = (bin.said / bin.weight, bin.found / bin.weight);
    let (low, high) = wilson(found, bin.n_rows as f64);
    format!(
        "<path d=\"M{0:.1} {1:.1}V{2:.1}\" stroke=\"{DOT}\" stroke-width=\"2\"/>\n\
         <circle cx=\"{0:.1}\" cy=\"{3:.1}\" r=\"4.5\" fill=\"{DOT}\"/>\n",
        x(said),
        y(low),
        y(high),
        y(found),
    )
}

/// Where a share would lie 95 times in 100, seen as `share` of `n_rows` rows.
///
/// Wilson 1927, doi:10.1080/01621459.1927.10502953.
fn wilson(share: f64, n_rows: f64) -> (f64, f64) {
    const Z: f64 = 1.96;
    let middle = share + Z * Z / (2.0 * n_rows);
    let reach = Z * (share * (1.0 - share) / n_rows + Z * Z / (4.0 * n_rows * n_rows)).sqrt();
    let whole = 1.0 + Z * Z / n_rows;
    ((middle - reach) / whole, (middle + reach) / whole)
}

const DOT: &str = "#3b82c4";
const SIDE: f64 = 360.0;

fn x(share: f64) -> f64 {
    56.0 + SIDE * share
}

fn y(share: f64) -> f64 {
    36.0 + SIDE * (1.0 - share)
}

/// All but the data.
fn frame(label: &str, error: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 440 464\" width=\"440\" height=\"464\" role=\"img\">\n\
         <title>Reliability of {label} on held-out rows</title>\n\
         <g font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\" fill=\"#7a7a7a\">\n\
         <path d=\"M{0:.1} {1:.1}V{2:.1}H{3:.1}\" fill=\"none\" stroke=\"#7a7a7a\"/>\n\
         <path d=\"M{0:.1} {2:.1}L{3:.1} {1:.1}\" stroke=\"#7a7a7a\" stroke-dasharray=\"4 4\"/>\n\
         <text x=\"{4:.1}\" y=\"20\" font-size=\"13\">{label}: expected calibration error {error:.3}</text>\n\
         <text x=\"{4:.1}\" y=\"446\">probability said; below the axis, rows of each bin</text>\n\
         <text transform=\"translate(16 {5:.1}) rotate(-90)\">share of positives found, with its 95 % interval</text>\n",
        x(0.0),
        y(1.0),
        y(0.0),
        x(1.0),
        x(0.5),
        y(0.5),
    );
    for tenth in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{tenth:.1}</text><text x=\"{:.1}\" y=\"{:.1}\">{tenth:.1}</text>",
            x(tenth),
            y(0.0) + 16.0,
            x(0.0) - 16.0,
            y(tenth) + 4.0,
        );
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_weighs_bins_by_rows() {
        // One bin holds 0.2 twice (one true of two), another 1.0 (true).
        let found = Reliability::natural(&[0.2, 0.2, 1.0], &[true, false, true]);
        assert!((found.error() - 0.3 * 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn probabilities_at_another_prevalence_are_measured_there() {
        // Ten rows of each class; at a prevalence of 0.1 the lower bin holds one
        // positive for eighteen negatives.
        let mut truths = vec![true; 10];
        truths.extend([false; 10]);
        let mut probabilities = vec![0.05; 5];
        probabilities.extend([0.5; 5]);
        probabilities.extend([0.05; 9]);
        probabilities.extend([0.5; 1]);
        let found = Reliability::at(0.1, &probabilities, &truths);
        // Weights 0.2 and 1.8: said 0.05 of 1 + 16.2, found 1; said 0.5 of 1 + 1.8, found 1.
        let expected = ((0.05_f64 * 17.2 - 1.0).abs() + (0.5_f64 * 2.8 - 1.0).abs()) / 20.0;
        assert!(
            (found.error() - expected).abs() < 1e-12,
            "{}",
            found.error()
        );
        let natural = Reliability::natural(&probabilities, &truths).error();
        assert!((Reliability::at(0.5, &probabilities, &truths).error() - natural).abs() < 1e-12);
    }

    #[test]
    fn a_diagram_shows_each_bin_that_has_rows() {
        let found = Reliability::natural(&[0.05, 0.05, 0.95], &[false, false, true]);
        let svg = found.svg("spam");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(
            svg.contains(">spam: expected calibration error 0.050<"),
            "{svg}"
        );
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn an_interval_lies_around_its_share_and_within_bounds() {
        let (low, high) = wilson(0.0, 10.0);
        assert!(
            low.abs() < 1e-12 && (0.27..0.28).contains(&high),
            "{low} {high}"
        );
    }
}
