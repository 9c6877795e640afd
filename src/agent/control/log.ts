/** As much of the agent's log as the control interface needs. */
export interface ControlLog {
  info(object: object, message: string): void;
  warn(object: object, message: string): void;
  error(object: object, message: string): void;
}
