// Texts of people and policies, as the server shows them.

// A text of a page (templates/texts.html) letter for letter, with the blanks that it begins with.
export function written(text) {
  return text.querySelector("pre.raw")?.textContent ?? text.querySelector(".markdown").textContent.trim();
}

// Characters that cannot be seen by their numbers, as app/web/unseen.py; joiners and styles, which emoji need, stay.
const UNSEEN = /(?![\t\n\r\u200c\u200d\ufe00-\ufe0f])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu;
export function visible(text) {
  return text.replace(UNSEEN, (sign) => `⟨U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
