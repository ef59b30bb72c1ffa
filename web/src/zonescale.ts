// The time scale of the chart in a time zone: days, months and hours begin where they begin there.
import { defaultHorzScaleBehavior, type IHorzScaleBehavior, type TickMark, type Time } from 'lightweight-charts';
import type { Zone } from './zone';

// The library's weights of tick marks: the heavier, the earlier it is drawn when the room is short.
const WEIGHT = { none: 0, second: 10, minute: 20, minute5: 21, minute30: 22, hour: 30, hour3: 31, hour6: 32, hour12: 33, day: 50, month: 60, year: 70 };
const STEPS: [number, number][] = [
  [43_200_000, WEIGHT.hour12],
  [21_600_000, WEIGHT.hour6],
  [10_800_000, WEIGHT.hour3],
  [3_600_000, WEIGHT.hour],
  [1_800_000, WEIGHT.minute30],
  [300_000, WEIGHT.minute5],
  [60_000, WEIGHT.minute],
  [1000, WEIGHT.second],
];

function weight(local: Date, before: Date): number {
  if (local.getUTCFullYear() !== before.getUTCFullYear()) return WEIGHT.year;
  if (local.getUTCMonth() !== before.getUTCMonth()) return WEIGHT.month;
  if (local.getUTCDate() !== before.getUTCDate()) return WEIGHT.day;
  const a = local.getTime();
  const b = before.getTime();
  return STEPS.find(([step]) => Math.floor(a / step) !== Math.floor(b / step))?.[1] ?? WEIGHT.none;
}

interface Point {
  timeWeight: number;
  originalTime: number; // seconds, as given
}

export type ZoneScale = IHorzScaleBehavior<Time> & { zone: Zone };

export function zoneScale(zone: Zone): ZoneScale {
  const Base = defaultHorzScaleBehavior();
  class Scale extends (Base as unknown as new () => ZoneScale) {
    zone: Zone = zone;

    fillWeightsForPoints(points: readonly unknown[], start: number): void {
      const all = points as Point[];
      const ms = (i: number) => all[i].originalTime * 1000;
      for (let i = start; i < all.length; i++) {
        // Of the first point nothing before it is known: as far back as the second is ahead.
        const before = i > 0 ? ms(i - 1) : all.length > 1 ? 2 * ms(0) - ms(1) : ms(0) - 60_000;
        all[i].timeWeight = weight(this.zone.local(ms(i)), this.zone.local(before));
      }
    }

    formatTickmark(mark: TickMark): string {
      const ms = Number(mark.originalTime) * 1000;
      const weight = Number(mark.weight);
      if (weight >= WEIGHT.year) return this.zone.date(ms).slice(0, 4);
      if (weight >= WEIGHT.month) return this.zone.month(ms);
      if (weight >= WEIGHT.day) return String(Number(this.zone.date(ms).slice(8)));
      return this.zone.clock(ms, weight < WEIGHT.minute);
    }
  }
  return new Scale();
}
