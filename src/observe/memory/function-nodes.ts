import { type ArrowFunctionExpression, type Expression, type Node, type Options, Parser, parse } from 'acorn';

/** Whatever is allowed in some place only is allowed: the text around is not looked at, and it has run. */
const options: Options = {
  ecmaVersion: 'latest',
  sourceType: 'script',
  allowAwaitOutsideFunction: true,
  allowHashBang: true,
  allowImportExportEverywhere: true,
  allowReturnOutsideFunction: true,
  allowSuperOutsideMethod: true,
  checkPrivateFields: false,
  locations: true,
};

/** What acorn's plugins build on, and its types leave out. */
interface Rules {
  nextToken(): void;
  /** A function or class, without what follows it. */
  parseExprAtom(): Expression;
  /** What can stand between two commas. */
  parseMaybeAssign(): Expression;
}

class OneExpression extends Parser {
  /** `super()`, in what may be a constructor. */
  get allowDirectSuper(): boolean {
    return true;
  }

  static begin(text: string): Rules {
    const parser = new OneExpression(options, text) as unknown as Rules;
    parser.nextToken();
    return parser;
  }
}

/** What a function runs itself. */
export interface FunctionNodes {
  readonly nodes: readonly Node[];
  /** How many characters the first line has in the nodes' locations that it does not have in the text. */
  readonly shift: number;
}

/**
 * The nodes of a module.
 *
 * @throws a `SyntaxError` when the text is none.
 */
export function moduleNodes(text: string): FunctionNodes {
  let program: Node;
  try {
    program = parse(text, { ...options, sourceType: 'module' });
  } catch {
    program = parse(text, options);
  }
  return { nodes: [program], shift: 0 };
}

/**
 * The nodes of the function that begins where the text does. V8 has functions and methods begin at their parameters,
 * arrow functions at their first character, the initialiser of a class at its first field or static block, and a
 * constructor that is not written at the class.
 *
 * @throws a `SyntaxError` when no function begins there.
 */
export function functionNodes(text: string): FunctionNodes {
  const begun = text.startsWith('(') ? attempt(() => written(text)) : undefined;
  return begun ?? attempt(() => arrow(text)) ?? initialiser(text);
}

function attempt(parseIt: () => FunctionNodes | undefined): FunctionNodes | undefined {
  try {
    return parseIt();
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

function written(text: string): FunctionNodes | undefined {
  const prefix = 'async function*';
  const node = OneExpression.begin(prefix + text).parseExprAtom();
  return node.type === 'FunctionExpression'
    ? { nodes: [...node.params, node.body], shift: prefix.length }
    : undefined;
}

function arrow(text: string): FunctionNodes | undefined {
  const node = OneExpression.begin(text).parseMaybeAssign();
  if (node.type === 'ClassExpression') return { nodes: [], shift: 0 };
  return node.type === 'ArrowFunctionExpression' ? { nodes: partsOf(node), shift: 0 } : undefined;
}

const partsOf = ({ params, body }: ArrowFunctionExpression) => [...params, body];

function initialiser(text: string): FunctionNodes {
  const prefix = 'class extends null {';
  const node = OneExpression.begin(prefix + text).parseExprAtom();
  const members = node.type === 'ClassExpression' ? node.body.body : [];
  const [first] = members;
  const isStatic = first?.type === 'StaticBlock' || (first?.type === 'PropertyDefinition' && first.static);
  const nodes: Node[] = [];
  for (const member of members) {
    if (member.type === 'StaticBlock' && isStatic) nodes.push(...member.body);
    if (member.type === 'PropertyDefinition' && member.static === isStatic && member.value) {
      nodes.push(member.value);
    }
  }
  return { nodes, shift: prefix.length };
}
