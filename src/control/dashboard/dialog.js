/** Asks before something is done, and tells what became of it. */
import { ApiError } from './api.js';
import { byId, setText } from './dom.js';

/**
 * @typedef {object} Outcome stands in the dialog
 * @property {string} text
 * @property {readonly Node[]} body
 */
/**
 * @typedef {object} Question
 * @property {string} title
 * @property {readonly Node[]} body
 * @property {(signal: AbortSignal) => Promise<{ body: readonly Node[]; refusal: string | undefined }>} [prepare] what
 * has to be known first; `refusal`: why it cannot be done
 * @property {string} confirm what the button says
 * @property {(signal: AbortSignal) => Promise<string | Outcome>} act gives what became of it
 * @property {string} [goesOn] what is so when the dialog is closed meanwhile; absent: then it is cancelled
 */

/** The page's only dialog. A question stays until it is closed: no other takes its place under somebody's fingers. */
export class Dialog {
  #dialog = /** @type {HTMLDialogElement} */ (byId('dialog'));
  #body = byId('dialog-body');
  #confirm = /** @type {HTMLButtonElement} */ (byId('dialog-confirm'));
  #cancel = byId('dialog-cancel');
  #outcome = byId('dialog-outcome');
  #notice;
  /** What is shown. @type {Question | undefined} */
  #question;
  #underWay = false;
  #running = new AbortController();

  /** @param {(text: string) => void} notice */
  constructor(notice) {
    this.#notice = notice;
    byId('dialog-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#act();
    });
    this.#cancel.addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('close', () => this.#closed());
  }

  /** @param {Question} question */
  open(question) {
    if (this.#dialog.open) throw new Error('there is a question already');
    // That the one before was closed may not have been told yet.
    this.#closed();
    const { title, body, prepare, confirm } = question;
    this.#question = question;
    this.#underWay = false;
    this.#running = new AbortController();
    setText(byId('dialog-title'), title);
    this.#body.replaceChildren(...body);
    setText(this.#confirm, confirm);
    setText(this.#cancel, 'Cancel');
    this.say('');
    this.#confirm.hidden = false;
    this.#confirm.disabled = prepare !== undefined;
    this.#dialog.showModal();
    if (prepare !== undefined) {
      this.#cancel.focus();
      void this.#prepare(prepare);
    } else if (this.#body.querySelector('input') === null) this.#confirm.focus();
  }

  /** Resolves when no question is shown. */
  async free() {
    while (this.#dialog.open) {
      await new Promise((resolve) => this.#dialog.addEventListener('close', resolve, { once: true }));
    }
  }

  /**
   * @param {string} text
   * @param {boolean} [bad]
   */
  say(text, bad = false) {
    setText(this.#outcome, text);
    this.#outcome.classList.toggle('bad', bad);
  }

  /** @param {NonNullable<Question['prepare']>} prepare */
  async #prepare(prepare) {
    const { signal } = this.#running;
    this.say('Asking…');
    try {
      const { body, refusal } = await prepare(signal);
      if (signal.aborted) return;
      this.#body.replaceChildren(...body);
      this.say(refusal ?? '', refusal !== undefined);
      // The focus stays: who presses Enter now has not read it.
      this.#confirm.disabled = refusal !== undefined;
    } catch (error) {
      if (!signal.aborted) this.say(whyOf(error), true);
    }
  }

  #closed() {
    if (this.#dialog.open || this.#question === undefined) return;
    const goesOn = this.#underWay ? this.#question?.goesOn : undefined;
    this.#question = undefined;
    if (goesOn === undefined) this.#running.abort(new Error('cancelled'));
    else this.#notice(goesOn);
  }

  async #act() {
    const question = this.#question;
    if (question === undefined || this.#confirm.disabled) return;
    const { signal } = this.#running;
    this.#confirm.disabled = true;
    this.#underWay = true;
    if (question.goesOn !== undefined) setText(this.#cancel, 'Close');
    this.say('Under way…');
    try {
      const outcome = await question.act(signal);
      if (!signal.aborted) this.#done(question, outcome);
    } catch (error) {
      if (!signal.aborted) this.#failed(question, whyOf(error));
    }
  }

  /**
   * @param {Question} question
   * @param {string | Outcome} outcome
   */
  #done(question, outcome) {
    const shown = this.#question === question;
    if (shown) this.#underWay = false;
    if (typeof outcome === 'string') {
      if (shown) this.#dialog.close();
      this.#notice(outcome);
    } else if (shown) {
      this.say(outcome.text);
      this.#body.replaceChildren(...outcome.body);
      this.#confirm.hidden = true;
      setText(this.#cancel, 'Close');
      this.#cancel.focus();
    }
  }

  /**
   * @param {Question} question
   * @param {string} why
   */
  #failed(question, why) {
    if (this.#question !== question) {
      this.#notice(`${question.title} ${why}`);
      return;
    }
    this.#underWay = false;
    setText(this.#cancel, 'Cancel');
    this.#confirm.disabled = false;
    this.say(why, true);
  }
}

/** @param {unknown} error */
export const whyOf = (error) => (error instanceof ApiError ? error.message : 'The daemon does not answer.');
