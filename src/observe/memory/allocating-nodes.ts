import type { AnyNode, CallExpression, NewExpression, Node } from 'acorn';

/**
 * What can be made: an object that is small, or one that may be large; a buffer; what a call makes. And what `maybe` is
 * small, of which the text does not tell whether it is made at all: a string or number, a promise, an iterator, what a
 * method returns or a container needs to grow.
 */
export type Made = 'small' | 'large' | 'buffer' | 'call' | 'maybe';

/** A node that allocates when it is run. */
export interface AllocatingNode {
  readonly node: Node;
  readonly isArgument: boolean;
  readonly makes: readonly Made[];
  readonly callee: string;
}

/** Where a node stands. */
interface Surroundings {
  /** In the arguments of a call, as they are: not inside of a literal there. */
  readonly isArgument: boolean;
  /** A literal is one place with all that is made for it, whatever the lines it takes. */
  readonly inLiteral: boolean;
}

const outside: Surroundings = { isArgument: false, inLiteral: false };
const inArguments: Surroundings = { isArgument: true, inLiteral: false };
const inLiteral: Surroundings = { isArgument: false, inLiteral: true };

/** Methods that make containers grow. */
const growers = new Set(['push', 'unshift', 'splice', 'set', 'add', 'append', 'fill']);

/** Methods that return something new, of any size. */
const makers = new Set(
  (
    'concat map filter slice split flatMap flat bind toString join subarray entries keys values ' +
    'from of repeat replace replaceAll padStart padEnd toSorted toSpliced toReversed'
  ).split(' '),
);

/** Objects whose methods return something new. */
const factories = new Set(['Buffer', 'JSON', 'Object', 'Array']);

/** Operators, also of assignments, whose result may be a number or string on the heap. */
const arithmetic = /^(?:[-+*/%]|\*\*|>>>)=?$/;

/** The nodes among these and inside of them that allocate, without those of functions and classes inside. */
export function allocatingNodes(nodes: readonly Node[]): AllocatingNode[] {
  const found: AllocatingNode[] = [];
  for (const node of nodes) visit(node as AnyNode, outside, found);
  return found;
}

function visit(node: AnyNode, at: Surroundings, found: AllocatingNode[]): void {
  const add = (makes: readonly Made[], place: Node = node, callee = '') =>
    found.push({ node: place, isArgument: at.isArgument, makes, callee });
  switch (node.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
      if (!at.inLiteral) add(['small']);
      return;
    case 'ClassDeclaration':
    case 'ClassExpression':
      add(['small']);
      if (node.superClass) visit(node.superClass, at, found);
      return;
    case 'ArrayExpression':
    case 'ObjectExpression': {
      const spreads = childrenOf(node).some(({ type }) => type === 'SpreadElement');
      if (!at.inLiteral || spreads) add(spreads ? ['small', 'large'] : ['small']);
      visitAll(childrenOf(node), inLiteral, found);
      return;
    }
    case 'CallExpression':
    case 'NewExpression': {
      const { callee } = node;
      const place =
        callee.type === 'MemberExpression' && node.type === 'CallExpression' ? callee.property : node;
      add(madeBy(node), place, nameOf(callee));
      visit(callee as AnyNode, at, found);
      visitAll(node.arguments, inArguments, found);
      return;
    }
    case 'TaggedTemplateExpression':
      add(['call', 'small'], node, nameOf(node.tag));
      visit(node.tag, at, found);
      visitAll(node.quasi.expressions, inArguments, found);
      return;
    case 'TemplateLiteral':
      if (node.expressions.length > 0) add(['small']);
      visitAll(node.expressions, outside, found);
      return;
    case 'Literal':
      if (node.regex !== undefined) add(['small']);
      return;
    case 'BinaryExpression':
      if (node.operator === '+' && (isString(node.left) || isString(node.right))) add(['small']);
      else if (arithmetic.test(node.operator)) add(['maybe']);
      break;
    case 'AssignmentExpression':
      if (node.left.type === 'MemberExpression') add(node.left.computed ? ['large', 'maybe'] : ['maybe']);
      if (node.operator === '+=' && isString(node.right)) add(['small']);
      else if (arithmetic.test(node.operator)) add(['maybe']);
      break;
    case 'RestElement':
      add(['small']);
      break;
    case 'UnaryExpression':
      if (node.operator === '-') add(['maybe']);
      break;
    case 'UpdateExpression':
    case 'AwaitExpression':
    case 'YieldExpression':
    case 'ImportExpression':
    case 'ForOfStatement':
    case 'ForInStatement':
    case 'ArrayPattern':
      add(['maybe']);
  }
  visitAll(childrenOf(node), at, found);
}

function visitAll(nodes: readonly Node[], at: Surroundings, found: AllocatingNode[]): void {
  for (const node of nodes) visit(node as AnyNode, at, found);
}

function childrenOf(node: Node): Node[] {
  return Object.values(node).flat().filter(isNode);
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';

const isString = (node: Node) =>
  (node as AnyNode).type === 'TemplateLiteral' || ('value' in node && typeof node.value === 'string');

function madeBy(node: CallExpression | NewExpression): Made[] {
  const { callee } = node;
  const name = nameOf(callee);
  const made: Made[] = ['call'];
  const spreads = node.arguments.some(({ type }) => type === 'SpreadElement');
  if (node.type === 'NewExpression') {
    made.push('small');
    if (spreads || /(?:Array|Buffer|Map|Set)$/.test(name)) made.push('large');
    if (/.Array$|Buffer$/.test(name)) made.push('buffer');
    return made;
  }
  const isMethod = callee.type === 'MemberExpression';
  const owner = isMethod && callee.object.type === 'Identifier' ? callee.object.name : '';
  const makes = factories.has(owner) || (isMethod ? makers.has(name) : name === 'structuredClone');
  if (makes || spreads) made.push('small', 'large');
  else if (isMethod && growers.has(name)) made.push('large');
  if (!makes && !spreads && isUnknown(callee)) made.push('maybe');
  if (owner === 'Buffer' || (isMethod && (name === 'slice' || name === 'subarray'))) made.push('buffer');
  return made;
}

/** Whether it may be one of V8's own functions, which need not be seen on the stack. */
function isUnknown(callee: Node): boolean {
  const node = callee as AnyNode;
  if (node.type === 'MemberExpression')
    return node.object.type !== 'ThisExpression' && node.object.type !== 'Super';
  return node.type === 'Identifier' && /^[A-Z]/.test(node.name);
}

/** As V8 names the function; empty when that cannot be told. */
function nameOf(callee: Node): string {
  const node = callee as AnyNode;
  if (node.type === 'Identifier') return node.name;
  if (node.type !== 'MemberExpression') return '';
  const { property } = node;
  if (property.type === 'PrivateIdentifier') return `#${property.name}`;
  if (property.type === 'Identifier' && !node.computed) return property.name;
  return property.type === 'Literal' && typeof property.value === 'string' ? property.value : '';
}
