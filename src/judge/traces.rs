//! Paths of the test of single errors, of the bets on shares and of the test for means on traces of all sorts, held against a second implementation that was
//! written down from the formulas alone and computes with sixty digits.
use super::{
    Counts, Interval, Scores,
    means::{Means, Way},
    odds::Harm,
    shares::Bets,
};

/// The generator of both implementations: the upper bits of Knuth's.
struct Draws(u64);

impl Draws {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn real(&mut self, below: u32) -> f64 {
        f64::from(u32::try_from(self.draw(u64::from(below))).unwrap())
    }
}

/// Of each sort some: few requests and many, a canary with a twentieth of them or most, rare and frequent errors, looks in
/// which the canary has no requests or only errors.
fn counts(trace: u64) -> Vec<Interval> {
    let mut draws = Draws(trace);
    let (scale, part) = ([30, 500, 20_000][(trace % 3) as usize], [1, 4, 10, 16][(trace % 4) as usize]);
    let rarity = [4, 40, 400][(trace / 3 % 3) as usize];
    let look = |_| {
        let (n_c, n_s) = (draws.draw(scale * part / 10 + 1), draws.draw(scale * (20 - part) / 10 + 1));
        let (x_c, x_s) = (draws.draw(n_c / rarity + 2), draws.draw(n_s / rarity + 2));
        let canary = match draws.draw(9) {
            0 => Counts::new(n_c, n_c),
            1 => Counts::default(),
            _ => Counts::new(n_c, x_c),
        };
        Interval { canary, stable: Counts::new(n_s, x_s) }
    };
    (0..12 + 4 * (trace % 5)).map(look).collect()
}

/// Few scores and many, of both arms or one, close to each other or all 0 or 1.
fn scores(trace: u64) -> Vec<(Scores, Scores)> {
    let mut draws = Draws(1_000 + trace);
    let (scale, part) = ([3, 40, 300][(trace % 3) as usize], [1, 4, 10, 16][(trace % 4) as usize]);
    let mut arm = |part: u32| {
        let n = draws.real(scale * part / 10 + 2);
        let mean = (500.0 + draws.real(500)) / 1_000.0;
        let spread = draws.real(100) / 100.0;
        Scores { n, sum: n * mean, squares: n * (mean * mean * (1.0 - spread) + mean * spread) }
    };
    (0..12 + 4 * (trace % 5)).map(|_| (arm(part), arm(20 - part))).collect()
}

/// What is tested, and the logarithm of its evidence after one look more.
type Test<'a, Look> = (&'a str, &'a mut dyn FnMut(&Look) -> f64);

/// Holds the logarithms of some tests' evidence, each after half of a trace and all of it, against a line of the paths.
fn agrees<Look>(trace: u64, path: &str, looks: &[Look], tests: &mut [Test<Look>]) {
    let expected: Vec<f64> = path.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(expected.len(), 2 * tests.len());
    for ((name, next), expected) in tests.iter_mut().zip(expected.as_chunks::<2>().0) {
        let seen: Vec<_> = looks.iter().map(next).collect();
        for (seen, expected) in [seen[looks.len() / 2 - 1], seen[looks.len() - 1]].iter().zip(expected) {
            assert!(
                (seen - expected).abs() < 1e-9 * expected.abs().max(1.0),
                "{name} of trace {trace}: {seen} and not {expected}"
            );
        }
    }
}

/// Above, below and the canary's own rate: after half of the trace and all of it.
const SHARES: &str = "
    1.139417640643 0.985906453326 -0.310470236748 -0.304278662192 26.840431312165 30.022577991854
    1.867160635731 1.130892195157 -0.679658068270 -0.254464161116 17.779105255525 35.628875668656
    -0.359089626439 -0.401071481908 0.683755641536 0.856779632915 34.298237682209 76.075978870086
    0.413676983345 0.043345781485 5.062324757972 7.790919825868 12.588238038679 24.304873228915
    2.597485562263 7.178770739982 -0.642954823342 -0.870089278857 15.919618299490 52.965943562393
    -0.020046442818 0.754059715825 1.771920081141 0.527130318135 2.165482104868 6.159177069483
    -0.182755936838 0.304913588609 0.981897188711 -0.047394648234 1.488364606477 12.865131165356
    -0.275883959774 -0.328602964636 1.076349464686 2.630155855441 -0.686728267569 -1.009814917472
    3.837719362038 6.807812788501 -0.593425633259 -0.809136362215 11.640031752642 20.920876867919
    0.586120006561 1.059464153528 0.106839453348 0.465228194170 9.134679237224 21.961440947723
    -0.078057063318 -0.247936371959 0.503245166846 1.166138589818 7.610198509866 15.318724730585
    -0.039547885738 -0.098451126600 1.649147672885 2.610842051812 1.720879698225 8.730556739630
    4.100190176485 7.347953190358 -0.462926751352 -0.644525835864 16.112988854851 26.553311328985
    0.121845194966 0.989776995990 -0.026529122436 -0.257089838874 2.632518879224 8.514070738174
    0.195185919563 0.388659626680 -0.457364267212 -0.569753969372 11.678153712820 24.276506378982
    0.098174259777 -0.215707425577 0.582879763550 2.750076844604 3.662895738639 3.661642420052
    0.270375798205 2.172030005024 -0.348481396590 -0.770952516302 2.541211824725 11.828841807314
    1.017267014218 0.899298190893 -0.735791830337 -0.675626749351 6.926374267408 4.698004984156
    -0.339900522741 -0.404835808620 -0.020732753942 0.241019433078 14.463025083896 38.595072392187
    -0.100784275193 -0.158717129367 1.396351029689 3.342977826117 16.010232888524 31.942999206219
    0.281563049381 1.575894824673 -0.038793995502 -0.309421989943 14.694134058501 28.988516828984
    0.238300824536 2.524641880230 -0.424211150929 -0.727508637483 0.522751628025 6.467468023143
    0.441689002796 0.329675459153 -0.401565927077 -0.135191474310 18.432036921470 29.550118689676
    -0.189720382936 -0.365197694291 2.040305794759 5.432107423603 2.361341768718 2.162269972239
";

#[test]
fn bets_on_shares_agree_with_a_second_implementation_on_24_traces() {
    for (trace, path) in (0..24).zip(SHARES.trim().lines()) {
        let block = [1, 3, 2][(trace / 8) as usize];
        let tolerated = [1.0, 1.25, 1.5][(trace % 3) as usize];
        let (excluded, rate) = [(2.0, 0.001), (3.0, 0.01)][(trace % 2) as usize];
        let mut bets =
            [Bets::above(tolerated, block), Bets::below(excluded, block), Bets::rate(rate, block)].map(|mut bets| {
                move |look: &Interval| {
                    bets.add(look);
                    bets.ln()
                }
            });
        let [above, below, rate] = &mut bets;
        agrees(trace, path, &counts(trace), &mut [("above", above), ("below", below), ("rate", rate)]);
    }
    assert_eq!(SHARES.trim().lines().count(), 24);
}

/// A canary that is worse by more, and one that is worse by less: after half of the trace and all of it.
const MEANS: &str = "
    0.030387705328 -0.115118543996 -0.086757755394 0.002445836914
    4.049247821806 2.712047285728 -1.163031864436 -0.861292179391
    6.438694767880 -3.986954634735 -3.374796635635 6.399909041685
    -0.020443330770 -0.188483480285 -0.266925720869 -0.109277338758
    -0.019570959853 -0.469409228175 -0.290878300453 0.434240730277
    0.092172449225 1.751200807438 -1.257466919065 -1.873830597695
    -0.317919437843 -0.269572248696 -0.011582691080 -0.247286307664
    -0.932516748382 -1.482276482563 2.557316422404 8.256306709832
    -1.160690684882 -0.321462228024 -0.029023417234 -1.299542286426
    -0.221421012278 -0.252112015521 -0.138066197257 -0.152492429385
    -1.725085233321 -1.616208391608 5.986955007397 5.887314330340
    -3.169936564257 -2.674518637621 26.411575100559 10.076624023449
    0.085894698039 0.124120974332 -0.139619480777 -0.220266937049
    -1.000076659923 -1.350321700667 3.421174197800 7.438715043700
    26.700492107338 -4.763900121882 -5.131681628725 9.401070242966
    -0.133456370563 0.044316187048 -0.042597011399 -0.233079601743
    -0.632487487816 -0.274899692728 0.901672713149 0.211927990450
    -1.744726880889 -1.754611991612 2.353152034240 1.698921007319
    -0.188149008152 -0.196582506938 -0.252049439930 -0.368001185863
    0.943536984050 0.277348230993 0.025659815870 2.202048655811
    -1.685014974032 -0.998753398596 3.063008235817 -0.467860156191
    -0.027533044827 -0.088952877782 -0.120939494228 -0.129925908294
    -1.728720765144 -1.651090592842 8.978338399538 10.155757806734
    -3.911511850193 -4.073670118887 33.071125274327 25.422392559135
";

#[test]
fn the_test_for_means_agrees_with_a_second_implementation_on_24_traces() {
    for (trace, path) in (0..24).zip(MEANS.trim().lines()) {
        let (harm, safe) = ([0.02, 0.0][(trace % 2) as usize], [0.05, 0.1, 0.02][(trace % 3) as usize]);
        let mut tests = [Means::new(Way::Less, harm), Means::new(Way::More, -safe)].map(|mut means| {
            move |(canary, stable): &(Scores, Scores)| {
                means.add(*canary, *stable);
                means.ln()
            }
        });
        let [harm, safe] = &mut tests;
        agrees(trace, path, &scores(trace), &mut [("harm", harm), ("safe", safe)]);
    }
    assert_eq!(MEANS.trim().lines().count(), 24);
}

/// Errors one by one, tempered on every second trace: after half of the trace and all of it.
const SINGLES: &str = "
    1.801410721159 1.021509727924
    6.217759020965 -2.584084452894
    -293.657978453999 912.942864666569
    -0.909385714418 0.317511376950
    -0.767462690459 62.132793577255
    1119.747236538521 4099.872427560246
    -1.286509425396 -0.907194333951
    -0.900157369927 -1.543289790769
    5932.512062088074 9838.293137358940
    -0.920335397708 0.620901592499
    -14.327310603148 -30.795538615184
    -183.074337983465 -99.247594841398
    3.835836573032 12.210423525533
    13.212807994684 65.432339860125
    4869.611910005389 4251.082167673617
    -1.074912078092 -1.672428731940
    34.549036789764 43.320317766254
    3104.772498941679 3010.760867010191
    -0.380908682349 1.068756723300
    2.197750022992 -2.179465453534
    476.314571961763 1221.934822572421
    0.307521929613 2.100444298188
    323.007573193673 276.816629276705
    1430.334706171025 1186.104090118454
";

#[test]
fn the_test_of_single_errors_agrees_with_the_reference_on_24_traces() {
    for (trace, path) in (0..24).zip(SINGLES.trim().lines()) {
        let tolerated = [1.0, 1.25, 1.5][(trace % 3) as usize];
        let mut harm = Harm::new(tolerated, [1.0, 0.5][(trace % 2) as usize]);
        let mut next = |look: &Interval| {
            harm.add(look);
            harm.mixture.ln()
        };
        agrees(trace, path, &counts(trace), &mut [("harm", &mut next)]);
    }
    assert_eq!(SINGLES.trim().lines().count(), 24);
}
