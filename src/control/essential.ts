/** What has to be known of a service to tell whether the daemon can do without. */
interface Member {
  readonly name: string;
  readonly critical: boolean;
  /** The supervisor above it. */
  readonly supervisor: string | undefined;
}

/** The services that the daemon cannot do without: they are critical, and so are the supervisors above them. */
export function essential<Service extends Member>(services: readonly Service[]): ReadonlySet<Service> {
  const byName = new Map(services.map((service) => [service.name, service]));
  const isEssential = ({ critical, supervisor }: Service): boolean => {
    const above = supervisor === undefined ? undefined : byName.get(supervisor);
    return critical && (above === undefined || isEssential(above));
  };
  return new Set(services.filter(isEssential));
}
