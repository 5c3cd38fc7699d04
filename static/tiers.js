// Where each completion stands, and what each act makes of it: letter -> {tier: 1 to k, or 0 (nowhere yet), open: not
// decided, bad: unacceptable}. Nothing here knows of the page.

export function standing(letters, ratings, places) {
  const k = letters.length;
  const all = { places };

  const row = (tier) => letters.filter((one) => all.places[one].tier === tier);
  const tiers = Array.from({ length: k }, (_none, index) => index + 1);
  const bad = () => letters.filter((one) => all.places[one].bad);
  const unplaced = () => letters.filter((one) => !all.places[one].bad && !all.places[one].tier);
  const sequence = () => [...unplaced(), ...tiers.flatMap(row), ...bad()];
  const isOpen = (letter) => all.places[letter].open && row(all.places[letter].tier).length > 1;
  const openRows = () => tiers.filter((tier) => row(tier).some(isOpen));
  const depth = ({ tier, bad }) => (bad ? k + 1 : tier);

  function settle(letter, tier) {
    all.places[letter] = { tier, open: false, bad: false };
  }

  // Makes the row below `tier` empty (tier 0: above all) and returns its number; there is an empty one, because a card
  // that asks for a tier of its own has left one that it shared.
  function gapBelow(tier) {
    const empty = (one) => !row(one).length;
    const below = tiers.find((one) => one > tier && empty(one));
    if (below) {
      for (const one of letters) if (all.places[one].tier > tier && all.places[one].tier < below) all.places[one].tier += 1;
      return tier + 1;
    }
    const above = tiers.findLast((one) => one <= tier && empty(one));
    for (const one of letters) if (all.places[one].tier > above && all.places[one].tier <= tier) all.places[one].tier -= 1;
    return tier;
  }

  function leave(letter) {
    all.places[letter] = { tier: 0, open: false, bad: false };
  }

  // As the ratings have it: below all that are rated better, and open where others share the rating.
  const seeded = Object.fromEntries(
    letters.map((one) => {
      const rating = ratings.get(one);
      const given = [...ratings.values()];
      const tier = rating ? 1 + given.filter((other) => other > rating).length : 0;
      return [one, { tier, open: rating > 0 && given.filter((other) => other === rating).length > 1, bad: false }];
    }),
  );
  const same = (a, b) => letters.every((one) => a[one].tier === b[one].tier && a[one].open === b[one].open && a[one].bad === b[one].bad);

  // The first of an undecided tier comes after the others: the question is how they stand to it.
  function nextOpen(after) {
    const order = sequence();
    const from = [...order.slice(order.indexOf(after) + 1), ...order.slice(0, order.indexOf(after) + 1)];
    const asked = from.filter((one) => isOpen(one) || (!all.places[one].tier && !all.places[one].bad));
    return asked.find((one) => !all.places[one].tier || row(all.places[one].tier)[0] !== one) ?? asked[0];
  }

  // Each act changes `all.places`, or returns false where there is nothing to change.
  const acts = {
    up(letter) {
      const { tier } = all.places[letter];
      if (!tier) return acts.lowest(letter);
      const shared = row(tier).length > 1;
      const above = tiers.findLast((one) => one < tier && row(one).length);
      if (!shared && !above) return false;
      if (!shared) return settle(letter, above);
      leave(letter);
      settle(letter, gapBelow(tier - 1));
    },
    down(letter) {
      const { tier } = all.places[letter];
      if (!tier) return all.places[letter].bad ? false : acts.lowest(letter);
      const shared = row(tier).length > 1;
      const below = tiers.find((one) => one > tier && row(one).length);
      if (!shared && !below) return false;
      if (!shared) return settle(letter, below);
      leave(letter);
      settle(letter, gapBelow(tier));
    },
    lowest(letter) {
      const last = tiers.findLast((one) => row(one).length) ?? 0;
      settle(letter, Math.min(last + 1, k));
    },
    own(letter) {
      return row(all.places[letter].tier).length > 1 && all.places[letter].tier ? acts.down(letter) : false;
    },
    tie(letter) {
      const order = sequence();
      const above = order[order.indexOf(letter) - 1];
      if (!above || !all.places[above].tier) return false;
      all.places[above].open = false;
      settle(letter, all.places[above].tier);
    },
    whole(letter) {
      if (!isOpen(letter)) return false;
      for (const one of row(all.places[letter].tier)) all.places[one].open = false;
    },
    bad(letter) {
      if (all.places[letter].bad) return false;
      all.places[letter] = { tier: 0, open: false, bad: true };
    },
    send(letter, tier) {
      settle(letter, tier);
    },
    before(letter, tier) {
      leave(letter);
      settle(letter, gapBelow(tier - 1));
    },
    after(letter, tier) {
      leave(letter);
      settle(letter, gapBelow(tier));
    },
  };

  // An act on a letter: whether it changed anything.
  function act(name, letter, tier) {
    const before = structuredClone(all.places);
    const changed = acts[name](letter, tier) !== false;
    for (const one of tiers) if (row(one).length === 1) all.places[row(one)[0]].open = false;
    return changed && !same(before, all.places);
  }

  return Object.assign(all, { tiers, row, bad, unplaced, sequence, isOpen, openRows, depth, nextOpen, seeded, same, act });
}
